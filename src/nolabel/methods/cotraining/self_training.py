"""Self-training: a network labels target images, keeps the surest, trains on them and the source, and does it again.

::

    OUT/cycle_00/pseudo_labels/    labels of this cycle's images, manifest.json
    OUT/cycle_00/selection/        the accumulated images and labels, as the original's list files
    OUT/cycle_00/training/         the run, model.safetensors
    OUT/cycle_00/recomputed/       labels of all accumulated images by the new network
    OUT/cycle_00/accumulated/      the lists after that
    OUT/cycle_00/cycle.json        written at the end of the cycle

Source: Co-Training specification, 2.7 to 2.11, section 8.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nolabel.data.domain_images import TargetImages
from nolabel.data.files import read_json
from nolabel.engine.devices import pick_device
from nolabel.engine.seeding import seed_of
from nolabel.engine.segmentor_file import load_model
from nolabel.engine.stage_folder import stage_folder
from nolabel.errors import ConfigError
from nolabel.methods.cotraining.label import LabelSet, make_label_set
from nolabel.methods.cotraining.selection import (
    SelectedLabel,
    accumulate,
    cycle_seed,
    draw_subset,
    rank_images,
    read_selection,
    selected_label,
    write_selection,
)
from nolabel.methods.cotraining.settings import MixedTrainingConfig, PseudoLabelConfig, SelfTrainingConfig
from nolabel.methods.cotraining.thresholds import next_portion
from nolabel.methods.cotraining.training import Score, SourceData, train_network
from nolabel.structures.files import write_json
from nolabel.weights import file_hash

__all__ = [
    "Branch",
    "cycle_folder",
    "cycle_record",
    "draw_images",
    "portions",
    "recompute",
    "self_train",
    "train_cycle",
]

CYCLE_FILE, LABELLED_FILE, FIRST_SCORES = "cycle.json", "labelled.json", "first_scores.json"
Portion = float | list[float]


@dataclass(frozen=True)
class Branch:
    """What a loop works with besides its settings.

    Attributes:
        start: file of the network that every cycle trains from (and that labels in the first cycle).
        source: labelled images.
        target: images without labels.
        device: where its networks run and train.
        score: scores a network on labelled target images, for the record only.
        progress: show progress on standard error.
    """

    start: Path
    source: SourceData
    target: TargetImages
    device: str = "auto"
    score: Score | None = None
    progress: bool = True

    def scores(self, model: Path) -> dict[str, float]:
        """Score a network, if labels are there for that."""
        if self.score is None:
            return {}
        return self.score(load_model(model, device=pick_device(self.device)))

    def inputs(self) -> dict[str, str]:
        """Hashes of all of it, by name."""
        return {
            "network": file_hash(self.start),
            "source": self.source.images.identity,
            "target": self.target.identity,
        }


def self_train(
    branch: Branch, out: Path, config: SelfTrainingConfig, *, only_labels: bool = False
) -> list[Path]:
    """Run all cycles, or what is left of them.

    Args:
        branch: network and data.
        out: the stage's folder.
        config: settings.
        only_labels: stop where the next cycle would train; its pseudo-labels and their selection are there then.

    Returns:
        The network's file of every cycle.

    Raises:
        ConfigError: the folder holds results of other settings or inputs.
    """
    seed = config.training.fit.seed
    with stage_folder(out, config, branch.inputs(), seed) as stage:
        networks: list[Path] = []
        selected: list[SelectedLabel] = []
        for cycle, portion in enumerate(portions(config.labels, config.cycles)):
            folder = cycle_folder(stage.path, cycle)
            if cycle_record(folder) is None:
                if branch.progress:
                    print(f"self-training: cycle {cycle + 1} of {config.cycles}", file=sys.stderr)
                selected, thresholds = _label_cycle(
                    branch, folder, config, cycle, portion, networks, selected
                )
                if only_labels:
                    return networks
                start = branch.start if config.scratch or not networks else networks[-1]
                _train_cycle(branch, start, folder, config, cycle, portion, selected, thresholds)
            networks.append(folder / "training" / "model.safetensors")
            selected = read_selection(folder / "accumulated")
        if stage.result is None:
            stage.finish(networks=[str(path.relative_to(stage.path)) for path in networks])
    return networks


def _label_cycle(
    branch: Branch,
    folder: Path,
    config: SelfTrainingConfig,
    cycle: int,
    portion: Portion,
    networks: Sequence[Path],
    selected: list[SelectedLabel],
) -> tuple[list[SelectedLabel], Tensor]:
    """Make the labels of a cycle; return what it trains on, and its thresholds."""
    settings = config.labels
    subset_seed = cycle_seed(config.training.fit.seed, cycle, "self_training")
    names = draw_images(branch.target, settings, subset_seed)
    labeller = _labeller(branch, folder.parent, config, networks)
    facts = {"cycle": cycle, "seed": subset_seed}
    labels = make_label_set(
        labeller,
        branch.target,
        names,
        folder / "pseudo_labels",
        settings,
        portion,
        cycle=cycle,
        facts=facts,
        device=branch.device,
        progress=branch.progress,
    )
    best = rank_images(labels.scores, config.sorting)[: settings.keep]
    new = [select(branch.target, labels, index) for index in best]
    compat = settings.reference_compat
    selected = accumulate(selected, new, settings.accumulation, config.sorting, reference_compat=compat)
    write_selection(folder / "selection", selected)
    write_json(folder / LABELLED_FILE, {**facts, "labeller": str(labeller), "chosen": len(new)})
    return selected, labels.thresholds


def _train_cycle(
    branch: Branch,
    start: Path,
    folder: Path,
    config: SelfTrainingConfig,
    cycle: int,
    portion: Portion,
    selected: list[SelectedLabel],
    thresholds: Tensor,
) -> None:
    """Train on the labels of a cycle, make labels anew with the result, and book the cycle as done."""
    settings = config.labels
    model = train_cycle(branch, start, folder / "training", config.training, cycle, selected, thresholds)
    if cycle < settings.recompute_cycles:
        selected = recompute(
            branch, model, folder / "recomputed", settings, portion, cycle, selected, config.sorting
        )
    write_selection(folder / "accumulated", selected)
    write_json(
        folder / CYCLE_FILE,
        {
            **read_json(folder / LABELLED_FILE),
            "portion": portion,
            "thresholds": thresholds.tolist(),
            "accumulated": len(selected),
            "scores": branch.scores(model),
        },
    )


def _labeller(branch: Branch, stage: Path, config: SelfTrainingConfig, networks: Sequence[Path]) -> Path:
    """Return the network that labels a cycle's images."""
    first = config.labeller or branch.start
    if not (networks and config.renew):
        return first
    if not config.best:
        return networks[-1]
    if not (stage / FIRST_SCORES).is_file():
        write_json(stage / FIRST_SCORES, branch.scores(first))
    networks = [first, *networks]
    records = [read_json(stage / FIRST_SCORES)]
    records += [(cycle_record(path.parent.parent) or {}).get("scores", {}) for path in networks[1:]]
    scores = [record.get("miou") for record in records]
    if None in scores:
        raise ConfigError(
            "best: true takes the network with the best score on target labels",
            hint="give them, or best: false",
        )
    return networks[max(range(len(scores)), key=lambda index: scores[index])]


def portions(config: PseudoLabelConfig, cycles: int) -> list[Portion]:
    """Return the portion of pixels that every cycle keeps."""
    initial: Portion = list(config.portion) if isinstance(config.portion, tuple) else config.portion
    result = [initial]
    for _ in range(cycles - 1):
        result.append(next_portion(result[-1], initial, config.portion_step, config.portion_most))
    return result


def draw_images(target: TargetImages, config: PseudoLabelConfig, seed: int) -> list[str]:
    """Return the names of the images that a cycle looks at."""
    if not config.draw:
        return list(target.names)
    return draw_subset(target.names, config.images, seed, step=config.image_step)


def select(target: TargetImages, labels: LabelSet, index: int, label: Path | None = None) -> SelectedLabel:
    """Describe one image of a set; ``label``: its map, where it is another than the set's."""
    name = labels.names[index]
    path = (label or labels.label(name)).absolute()
    return selected_label(str(target.path(name)), str(path), labels.scores, index)


def train_cycle(
    branch: Branch,
    start: Path,
    out: Path,
    config: MixedTrainingConfig,
    cycle: int,
    selected: Sequence[SelectedLabel],
    thresholds: Tensor,
) -> Path:
    """Train on the source and the accumulated pseudo-labels; every cycle draws its own batches."""
    seed = seed_of(config.fit.seed, "cycle", cycle)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"seed": seed})})
    return train_network(
        lambda: load_model(start, options=config.network_options),
        branch.source,
        out,
        config,
        {"network": file_hash(start)},
        pseudo_labels=selected,
        thresholds=thresholds,
        score=branch.score if config.fit.validate_every else None,
        device=branch.device,
        progress=branch.progress,
    )


def recompute(
    branch: Branch,
    model: Path,
    out: Path,
    config: PseudoLabelConfig,
    portion: Portion,
    cycle: int,
    selected: list[SelectedLabel],
    sorting: str,
) -> list[SelectedLabel]:
    """Label all accumulated images anew, with thresholds of their own, and keep the labels that got better."""
    names = list(dict.fromkeys(Path(entry.label).stem for entry in selected))
    labels = make_label_set(
        model,
        branch.target,
        names,
        out,
        config,
        portion,
        cycle=cycle,
        facts={"cycle": cycle, "recomputed": True},
        device=branch.device,
        progress=branch.progress,
    )
    new = [select(branch.target, labels, index) for index in range(len(names))]
    compat = config.reference_compat
    return accumulate(selected, new, "update_best_score", sorting, reference_compat=compat)


def cycle_folder(stage: Path, cycle: int) -> Path:
    """Return the folder of a cycle."""
    return Path(stage) / f"cycle_{cycle:02d}"


def cycle_record(folder: Path) -> dict[str, Any] | None:
    """Return what a finished cycle left, None for one that is not finished."""
    path = Path(folder) / CYCLE_FILE
    if not path.is_file():
        return None
    record: dict[str, Any] = read_json(path)
    return record
