"""Co-training: two networks label the same target images and each trains on what the other is surer of.

::

    OUT/cycle_00/{a,b}/pseudo_labels/   each network's own labels, manifest.json
    OUT/cycle_00/{a,b}/fused/           the same after fusion
    OUT/cycle_00/{a,b}/thresholds.npy   of this cycle (float32)
    OUT/cycle_00/{a,b}/selection/       what the branch trains on
    OUT/cycle_00/{a,b}/training/        the run, model.safetensors
    OUT/cycle_00/{a,b}/recomputed/, accumulated/
    OUT/cycle_00/cycle.json             written at the end of the cycle

Networks are black boxes: only their labels and confidences are exchanged.

Source: Co-Training specification, 2.12.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nolabel.data.label_files import read_channels
from nolabel.data.void_labels import void_as_255, void_as_label
from nolabel.engine.segmentor_file import load_model
from nolabel.engine.side_by_side import side_by_side
from nolabel.engine.stage_folder import stage_folder
from nolabel.errors import ConfigError
from nolabel.methods.cotraining import exchange
from nolabel.methods.cotraining.exchange import fuse_labels, rank_for_partner, share
from nolabel.methods.cotraining.label import LabelSet, make_label_set
from nolabel.methods.cotraining.selection import (
    SelectedLabel,
    accumulate,
    cycle_seed,
    read_selection,
    write_selection,
)
from nolabel.methods.cotraining.self_training import (
    CYCLE_FILE,
    Branch,
    Portion,
    cycle_folder,
    cycle_record,
    draw_images,
    portions,
    recompute,
    select,
    train_cycle,
)
from nolabel.methods.cotraining.settings import CoTrainingConfig, MixedTrainingConfig, PseudoLabelConfig
from nolabel.structures.files import write_bytes, write_json, write_png

__all__ = ["BRANCHES", "co_train"]

BRANCHES = ("a", "b")
Result = TypeVar("Result")


def co_train(
    branches: Sequence[Branch], out: Path, config: CoTrainingConfig, *, parallel: bool = False
) -> list[tuple[Path, Path]]:
    """Run all cycles, or what is left of them.

    Args:
        branches: A and B, with the same target images and label space; their networks may differ in everything else.
        out: the stage's folder.
        config: settings.
        parallel: let both branches label and train at the same time, each in a process of its own.

    Returns:
        The networks' files of A and B in every cycle.

    Raises:
        ConfigError: the folder holds results of other settings or inputs, or the branches do not fit together.
    """
    _check(branches)
    inputs = {
        f"{name}.{key}": v
        for name, b in zip(BRANCHES, branches, strict=True)
        for key, v in b.inputs().items()
    }
    with stage_folder(out, config, inputs, config.training.fit.seed) as stage:
        networks: list[tuple[Path, Path]] = []
        cycles = zip(*(portions(labels, config.cycles) for labels in _label_settings(config)), strict=True)
        for cycle, portion in enumerate(cycles):
            folder = cycle_folder(stage.path, cycle)
            if cycle_record(folder) is None:
                if branches[0].progress:
                    print(f"co-training: cycle {cycle + 1} of {config.cycles}", file=sys.stderr)
                _Cycle(branches, stage.path, config, cycle, networks, parallel).run(portion)
            a, b = (folder / name / "training" / "model.safetensors" for name in BRANCHES)
            networks.append((a, b))
        if stage.result is None:
            stage.finish(networks=[[str(path.relative_to(stage.path)) for path in pair] for pair in networks])
    return networks


class _Cycle:
    """One cycle; every step is skipped where its result is there."""

    def __init__(
        self,
        branches: Sequence[Branch],
        stage: Path,
        config: CoTrainingConfig,
        cycle: int,
        networks: Sequence[tuple[Path, Path]],
        parallel: bool,
    ) -> None:
        self.branches, self.config, self.cycle, self.networks = branches, config, cycle, networks
        self.parallel = parallel
        self.folder = cycle_folder(stage, cycle)
        self.former = cycle_folder(stage, cycle - 1) if cycle else None
        self.labels = _label_settings(config)
        self.trainings = config.training, config.training_b or config.training

    def run(self, portion: Sequence[Portion]) -> None:
        config, target = self.config, self.branches[0].target
        seed = cycle_seed(config.training.fit.seed, self.cycle, "co_training")
        names = draw_images(target, self.labels[0], seed)
        sets = self.both(lambda side: partial(self.label, side, names, portion[side], seed))
        maps = [[labels.label(name) for name in names] for labels in sets]
        fused = self.cycle > 0 and config.fusion != "none"
        if fused:
            maps = self.fuse(sets, maps)
        chosen = self.exchange(sets, maps, names)
        learnt = self.both(
            lambda side: partial(self.learn, side, chosen[side], sets[side].thresholds, portion[side])
        )
        record = {
            "cycle": self.cycle,
            "seed": seed,
            "portion": list(portion),
            "fused": fused,
            "thresholds": {name: s.thresholds.tolist() for name, s in zip(BRANCHES, sets, strict=True)},
            "images": {name: sizes for name, (sizes, _) in zip(BRANCHES, learnt, strict=True)},
            "scores": {name: scores for name, (_, scores) in zip(BRANCHES, learnt, strict=True)},
        }
        write_json(self.folder / CYCLE_FILE, record)

    def both(self, job: Callable[[int], Callable[[], Result]]) -> list[Result]:
        """Do the work of both branches, here or beside each other; between such steps they exchange labels."""
        jobs = {name.upper(): job(side) for side, name in enumerate(BRANCHES)}
        return list(side_by_side(jobs, parallel=self.parallel).values())

    def label(self, side: int, names: Sequence[str], portion: Portion, seed: int) -> LabelSet:
        """Let a branch label the cycle's images."""
        branch = self.branches[side]
        model = self.networks[-1][side] if self.networks else branch.start
        folder = self.folder / BRANCHES[side]
        labels = make_label_set(
            model,
            branch.target,
            names,
            folder / "pseudo_labels",
            self.labels[side],
            portion,
            cycle=self.cycle,
            facts={"cycle": self.cycle, "seed": seed, "branch": BRANCHES[side]},
            device=branch.device,
            progress=branch.progress,
        )
        content = io.BytesIO()
        np.save(content, labels.thresholds.numpy().astype(np.float32))
        write_bytes(folder / "thresholds.npy", content.getvalue())
        return labels

    def fuse(self, sets: Sequence[LabelSet], maps: Sequence[Sequence[Path]]) -> list[list[Path]]:
        """Write the maps after fusion, image by image."""
        classes = sets[0].space.num_classes
        fused: list[list[Path]] = [[], []]
        for pair in zip(*maps, strict=True):
            first, second = (_read_map(path, classes) for path in pair)
            both = fuse_labels(first, second, classes, subtract=self.config.fusion == "subtract")
            for side, labels in enumerate(both):
                path = self.folder / BRANCHES[side] / "fused" / pair[side].name
                write_png(path, void_as_255(labels, classes).numpy())
                fused[side].append(path)
        return fused

    def exchange(
        self, sets: Sequence[LabelSet], maps: Sequence[Sequence[Path]], names: Sequence[str]
    ) -> list[list[SelectedLabel]]:
        """Return what each branch gets."""
        config, compat = self.config, self.labels[0].reference_compat
        classes = sets[0].space.num_classes
        views = [
            exchange.Branch.of(
                labels.scores,
                labels.thresholds,
                (_read_map(path, classes) for path in paths),
                config.min_pixels,
                reference_compat=compat,
            )
            for labels, paths in zip(sets, maps, strict=True)
        ]
        given = [
            rank_for_partner(views[side], views[1 - side], config.sorting, reference_compat=compat)
            for side in range(2)
        ]
        result = []
        for side in range(2):
            pairs = share(given[side], given[1 - side], self.labels[side].keep, config.collaboration)
            entries = []
            for owner, index in pairs:
                giver = side if owner == "own" else 1 - side
                entries.append(select(self.branches[side].target, sets[giver], index, maps[giver][index]))
            result.append(entries)
        return result

    def learn(
        self, side: int, new: Sequence[SelectedLabel], thresholds: Tensor, portion: Portion
    ) -> tuple[dict[str, int], dict[str, float]]:
        """Let a branch train on what it gets; return its numbers of images, and its scores."""
        selected = self.accumulated(side, new)
        model = self.train(side, selected, thresholds)
        self.renew(side, model, selected, portion)
        return {"chosen": len(new), "accumulated": len(selected)}, self.branches[side].scores(model)

    def accumulated(self, side: int, new: Sequence[SelectedLabel]) -> list[SelectedLabel]:
        """Add what a branch gets to what it has."""
        name, settings = BRANCHES[side], self.labels[side]
        old = [] if self.former is None else read_selection(self.former / name / "accumulated")
        compat = settings.reference_compat
        result = accumulate(old, new, settings.accumulation, self.config.sorting, reference_compat=compat)
        write_selection(self.folder / name / "selection", result)
        return result

    def train(self, side: int, selected: Sequence[SelectedLabel], thresholds: Tensor) -> Path:
        """Train one branch."""
        branch, training = self.branches[side], self.trainings[side]
        start = branch.start if self.config.scratch or not self.networks else self.networks[-1][side]
        out = self.folder / BRANCHES[side] / "training"
        return train_cycle(branch, start, out, _own_seed(training, side), self.cycle, selected, thresholds)

    def renew(self, side: int, model: Path, selected: list[SelectedLabel], portion: Portion) -> None:
        """Label the accumulated images of a branch with its new network, and write the lists for the next cycle."""
        folder, settings = self.folder / BRANCHES[side], self.labels[side]
        if self.cycle < settings.recompute_cycles:
            selected = recompute(
                self.branches[side],
                model,
                folder / "recomputed",
                settings,
                portion,
                self.cycle,
                selected,
                self.config.sorting,
            )
        write_selection(folder / "accumulated", selected)


def _label_settings(config: CoTrainingConfig) -> tuple[PseudoLabelConfig, PseudoLabelConfig]:
    return config.labels, config.labels_b or config.labels


def _own_seed(training: MixedTrainingConfig, side: int) -> MixedTrainingConfig:
    """Two branches must not draw the same batches."""
    fit = training.fit.model_copy(update={"seed": training.fit.seed + side})
    return training.model_copy(update={"fit": fit})


def _check(branches: Sequence[Branch]) -> None:
    a, b = branches
    if a.target.identity != b.target.identity:
        raise ConfigError("both branches must have the same target images")
    if load_model(a.start).space != load_model(b.start).space:
        raise ConfigError("both branches must have the same classes", hint="train both in one label space")


def _read_map(path: Path, classes: int) -> Tensor:
    return void_as_label(torch.from_numpy(read_channels(path, 1).astype(np.uint8)), classes)
