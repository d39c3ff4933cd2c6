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
from dataclasses import dataclass
from pathlib import Path

from study_worlds import Job, Worlds, run_jobs, score_of, write_scores

from nolabel.data.domain_images import DataPart
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.methods.cotraining.opening import load_settings, source_of, target_of, validation_of
from nolabel.methods.cotraining.pipeline import prepare_source, run_pipeline, train_baseline
from nolabel.methods.cotraining.report import stage_scores
from nolabel.methods.cotraining.settings import PipelineConfig

RECIPE = "cotrain/tiny"
ALONE = ("source only", "target supervised")


@dataclass(frozen=True)
class Study:
    """One seed's runs."""

    worlds: Worlds
    settings: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Everything of this seed."""
        return self.worlds.folder

    def config(self) -> PipelineConfig:
        """Return the settings of the whole run."""
        return load_settings(
            RECIPE,
            self.settings,
            source=[self.worlds.source],
            target=[self.worlds.target],
            validation=self.worlds.target,
            seed=self.worlds.seed,
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
            real = DataPart(root=self.worlds.target, dataset="cityscapes", split="train")
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
    value = score_of(run)
    assert value is not None
    return value


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
        Study(
            Worlds(arguments.out / f"seed_{seed}", seed, tuple(arguments.scenes)), tuple(arguments.settings)
        )
        for seed in arguments.seeds
    ]
    for study in studies:
        study.worlds.render(workers=2)
    jobs: list[Job] = [(Study.run, (study,)) for study in studies]
    jobs += [(Study.train_alone, (study, row)) for study in studies for row in ALONE]
    run_jobs(jobs, processes=2)
    print(write_scores(arguments.out, [study.score() for study in studies]))
    print(f"results: {arguments.out / 'results.json'}; one page for each seed: seed_*/run/report.html")


if __name__ == "__main__":
    main()
