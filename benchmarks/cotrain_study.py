"""Scores of every stage of Co-Training over several seeds: from a synthetic world to a real one.

    PYTHONPATH=src python benchmarks/cotrain_study.py --out study --seeds 0 1 2

For each seed two worlds are rendered: labelled images of the style ``synthetic`` and images of the style ``real``, whose
labels nothing is trained with. A network is trained on the synthetic images as they are, then the whole of Co-Training
is run by the recipe ``cotrain/tiny``; one network learns from the real labels and shows what could be had. All
are scored on held-out real scenes. Every part is resumable: the same command goes on where it was stopped. The table gives
mean and standard deviation of the mIoU over the seeds, in percent, and the gain over the row before.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import torch

from nolabel.data.domain_images import DataPart
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.engine.run_folder import RunFolder
from nolabel.methods.cotraining.opening import load_settings, source_of, target_of, validation_of
from nolabel.methods.cotraining.pipeline import prepare_source, run_pipeline, train_baseline
from nolabel.methods.cotraining.report import stage_scores
from nolabel.methods.cotraining.settings import PipelineConfig
from nolabel.structures.files import write_bytes, write_json
from nolabel.world import Rig, WorldSettings, write_world

RECIPE = "cotrain/tiny"
HELD_OUT = 2_000_000
TARGET = 1_000_000
ALONE = ("source only", "target supervised")


@dataclass(frozen=True)
class Study:
    """Where one seed's files are, and how large its worlds are."""

    root: Path
    seed: int
    scenes: tuple[int, int, int]
    settings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Everything of this seed."""
        return self.root / f"seed_{self.seed}"

    @property
    def source(self) -> Path:
        """Labelled synthetic images in the GTA5 layout."""
        return self.folder / "synthetic"

    @property
    def target(self) -> Path:
        """Real images in the Cityscapes layout: ``train`` to adapt to, ``val`` to score on."""
        return self.folder / "real"

    def render(self) -> None:
        """Render the worlds."""
        first = self.seed * 10_000
        parts = (
            (self.source, "gta5", "synthetic", "train", 0),
            (self.target, "cityscapes", "real", "train", TARGET),
            (self.target, "cityscapes", "real", "val", HELD_OUT),
        )
        for count, (out, layout, style, split, offset) in zip(self.scenes, parts, strict=True):
            world = WorldSettings(
                layout=layout,
                style=style,
                scenes=count,
                frames=1,
                seed=first + offset,
                split=split,
                rig=Rig(size=(256, 512)),
            )
            write_world(out, world, workers=2, progress=True)

    def config(self) -> PipelineConfig:
        """Return the settings of the whole run."""
        return load_settings(
            RECIPE,
            self.settings,
            source=[self.source],
            target=[self.target],
            validation=self.target,
            seed=self.seed,
            device="cpu",
        )

    def run(self) -> None:
        """Run Co-Training."""
        config = self.config()
        run_pipeline(
            source_of(config),
            target_of(config),
            self.folder / "run",
            config,
            validation=validation_of(config),
            progress=False,
        )

    def train_alone(self, row: str) -> None:
        """Train on the source as it is, or on the target's labels, for as many steps as the baseline."""
        config = self.config()
        if row == "target supervised":
            real = DataPart(root=self.target, dataset="cityscapes", split="train")
            config = config.model_copy(update={"source": (real,)})
        out = self.folder / row.replace(" ", "_")
        plain = config.translation.replaced(mode="none")
        source = prepare_source(source_of(config), None, out, plain, [config.baseline], progress=False)
        validation = validation_of(config)
        assert validation is not None
        train_baseline(
            source,
            out,
            config.baseline,
            config.network,
            size=config.self_training.labels.size,
            score=NetworkScorer(validation),
            progress=False,
        )

    def score(self) -> dict[str, float]:
        """Return the mIoU of every row, in the order of the method."""
        alone = {row: _miou(self.folder / row.replace(" ", "_")) for row in ALONE}
        stages = {name: values["miou"] for name, values in stage_scores(self.folder / "run").items()}
        stages["baseline + LAB"] = stages.pop("baseline")
        order = ["baseline + LAB", *(name for name in stages if name != "baseline + LAB")]
        first, last = ALONE
        return {first: alone[first], **{name: stages[name] for name in order}, last: alone[last]}


def _miou(run: Path) -> float:
    result = RunFolder(run).result()
    assert result is not None
    return float(result["metrics"]["miou"])


def run_part(name: str, study: Study, *arguments: str) -> None:
    """Run one training in a process of its own, with one thread."""
    torch.set_num_threads(1)
    getattr(study, name)(*arguments)


def table(scores: dict[str, list[float]]) -> str:
    """Return mIoU by row (one value for each seed) as Markdown, in percent."""
    lines = ["| network | mIoU | by seed | gain over the row before |", "|---|---|---|---|"]
    before: list[float] | None = None
    for row, values in scores.items():
        percent = [100 * value for value in values]
        spread = f" ± {stdev(percent):.1f}" if len(percent) > 1 else ""
        gain = "" if before is None else f"{mean(percent) - mean(before):+.1f}"
        seeds = ", ".join(f"{value:.1f}" for value in percent)
        lines.append(f"| {row} | {mean(percent):.1f}{spread} | {seeds} | {gain} |")
        before = percent
    return "\n".join(lines)


def main() -> None:
    """Run all parts that are not done yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--scenes", type=int, nargs=3, default=[120, 120, 30], help="source, target, held-out"
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    arguments = parser.parse_args()
    studies = [
        Study(arguments.out, seed, tuple(arguments.scenes), tuple(arguments.settings))
        for seed in arguments.seeds
    ]
    for study in studies:
        study.render()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = [pool.submit(run_part, "run", study) for study in studies]
        jobs += [pool.submit(run_part, "train_alone", study, row) for study in studies for row in ALONE]
        for job in jobs:
            job.result()
    scores: dict[str, list[float]] = {}
    for study in studies:
        for row, value in study.score().items():
            scores.setdefault(row, []).append(value)
    write_json(arguments.out / "results.json", scores)
    text = table(scores)
    write_bytes(arguments.out / "table.md", text.encode())
    print(text)
    print(f"results: {arguments.out / 'results.json'}; one page for each seed: seed_*/run/report.html")


if __name__ == "__main__":
    main()
