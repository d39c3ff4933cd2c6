"""Scores of every stage of unMORE on the procedural world, over several seeds: from photographs to a detector.

    PYTHONPATH=src python benchmarks/unmore_study.py --out study --seeds 0 1 2 \
        --features vit_small_patch14_dinov2 --feature-weights dinov2_vits14.safetensors

For each seed three sets are rendered: photographs of single things, whose masks are found in self-supervised features;
scenes, in which objects are discovered and from which the detector learns; other scenes, on which every stage is
scored with exact masks. Nothing is learned from a label. Every part is resumable: the same command goes on where it was
stopped. The table gives mean and standard deviation over the seeds, percent, without classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nolabel.methods.unmore.pipeline import StageScores, run_pipeline
from nolabel.methods.unmore.pipeline_report import SHOWN
from nolabel.methods.unmore.pipeline_settings import load_pipeline
from nolabel.structures.files import write_bytes, write_json
from nolabel.world import Rig, WorldSettings, write_world

SEED_STEP = 100_000
"""Scenes of the world are numbered; sets of different seeds must not share any."""
SETS = (("photographs", "photographs", (384, 768), 0), ("scenes", "coco", (256, 512), 30_000))
VALIDATION = ("validation", "coco", (256, 512), 60_000)
TASKS = {"bbox": "box", "segm": "mask"}


def render(folder: Path, seed: int, counts: tuple[int, int, int], workers: int) -> None:
    """Write the three sets of a seed."""
    for (name, layout, size, first), count in zip((*SETS, VALIDATION), counts, strict=True):
        settings = WorldSettings(
            layout=layout,  # type: ignore[arg-type]
            rig=Rig(size),
            scenes=count,
            frames=1,
            seed=seed * SEED_STEP + first,
        )
        write_world(folder / name, settings, workers=workers)


def table(scores: list[StageScores]) -> str:
    """Return mean and standard deviation over the seeds as a Markdown table."""
    columns = [(task, name) for task in TASKS for name in SHOWN]
    lines = [
        "| stage | " + " | ".join(f"{TASKS[task]} {name}" for task, name in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for stage in scores[0]:
        values = np.array([[one[stage][task][name] for task, name in columns] for one in scores])
        cells = [
            f"{mean:.2f} ± {spread:.2f}" for mean, spread in zip(values.mean(0), values.std(0), strict=True)
        ]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all parts that are not done yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--counts", type=int, nargs=3, default=(200, 40, 20), help="of images in each set")
    parser.add_argument("--recipe", default="unmore/tiny")
    parser.add_argument("--features", nargs="+", help="as for `nolabel unmore votecut`")
    parser.add_argument("--feature-weights", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    arguments = parser.parse_args()
    scores = []
    for seed in arguments.seeds:
        folder = arguments.out / f"seed_{seed}"
        render(folder, seed, tuple(arguments.counts), arguments.workers)
        config = load_pipeline(
            arguments.recipe,
            arguments.settings,
            features=arguments.features,
            feature_weights=arguments.feature_weights,
            seed=seed,
        )
        result = run_pipeline(
            folder / "photographs" / "images",
            folder / "run",
            config,
            scenes=folder / "scenes" / "images",
            validation=folder / "validation",
            device="cpu",
            workers=arguments.workers,
            executor="processes" if arguments.workers > 1 else "inline",
        )
        scores.append(result.scores)
    write_json(arguments.out / "results.json", dict(zip(map(str, arguments.seeds), scores, strict=True)))
    write_bytes(arguments.out / "table.md", table(scores).encode())
    print(table(scores))
    print(f"results: {arguments.out / 'results.json'}; one page for each seed: seed_*/run/report.html")


if __name__ == "__main__":
    main()
