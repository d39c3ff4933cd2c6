"""Scores of both stages of SceneDINO on the procedural world, over several seeds: posed drives in, completed scenes out.

    PYTHONPATH=src python benchmarks/scenedino_study.py --out study --seeds 0 1 2

For each seed three sets of drives are rendered. Stage 1 learns geometry and features from the training drives, stage 2
splits the features into classes; nothing is learned from a label. The validation drives pick the step that is kept and
name its clusters. On the test drives the depth of the image's own view, its classes (clusters matched on the test drives,
as published), and the completed voxels are scored, beside scenes that need no learning. Every part is resumable: the
same command goes on where it was stopped. The tables give mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

import torch

from nolabel.data.posed_views import PosedSample
from nolabel.data.sscbench import SscbenchFrames
from nolabel.engine.fit_config import load_training
from nolabel.methods.scenedino.baselines import BackProjection, EmptyScene, GroundPlane
from nolabel.methods.scenedino.evaluate_2d import evaluate_2d
from nolabel.methods.scenedino.evaluate_ssc import evaluate_ssc
from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig
from nolabel.methods.scenedino.geometry_training import start_network, train_geometry
from nolabel.methods.scenedino.labelled_views import open_labelled_views
from nolabel.methods.scenedino.network_files import load_scenedino
from nolabel.methods.scenedino.network_scenes import NetworkScenes
from nolabel.methods.scenedino.scene_model import SceneModel, ViewPrediction, VolumePrediction
from nolabel.methods.scenedino.semantic_settings import SemanticTrainingConfig
from nolabel.methods.scenedino.semantic_training import train_semantics
from nolabel.methods.scenedino.training_data import open_scenes
from nolabel.structures.files import write_bytes, write_json
from nolabel.world import Rig, WorldSettings, write_world

SEED_STEP = 100_000
"""Scenes of the world are numbered; drives of different seeds and splits must not share any."""
SPLITS = {"train": 0, "val": 30_000, "test": 60_000}
Scores = dict[str, dict[str, float]]
"""Row -> name of a number -> value."""
Stage = TypeVar("Stage", GeometryTrainingConfig, SemanticTrainingConfig)


@dataclass(frozen=True)
class Truth:
    """Exact depth and classes of the image's own view, and nothing behind: what perfect back-projection would have.

    Attributes:
        views: labelled samples with depth, by the image's bytes.
    """

    views: Mapping[bytes, PosedSample]

    def view(
        self, image: torch.Tensor, intrinsics: torch.Tensor, *, features: bool = False
    ) -> ViewPrediction:
        """What is seen."""
        sample = self.views[image.numpy().tobytes()]
        assert sample.depth is not None and sample.labels is not None
        rows, columns = (torch.arange(size, dtype=torch.float32) for size in image.shape[-2:])
        x = (columns + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
        y = (rows[:, None] + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
        distance = sample.depth.reshape(image.shape[-2:]) * (1 + x**2 + y**2).sqrt()
        return ViewPrediction(classes={"stego_cluster": sample.labels}, distance=distance)

    def volume(
        self,
        image: torch.Tensor,
        intrinsics: torch.Tensor,
        centres: torch.Tensor,
        needed: torch.Tensor | None = None,
    ) -> VolumePrediction:
        """Matter only where it is seen."""
        return BackProjection(self).volume(image, intrinsics, centres, needed)


@dataclass(frozen=True)
class Study:
    """One seed's drives, runs and scores."""

    folder: Path
    seed: int
    scenes: tuple[int, int, int]
    frames: int
    recipe: str
    settings: tuple[str, ...]

    @property
    def drives(self) -> Path:
        """All drives, in KITTI-360's layout."""
        return self.folder / "drives"

    def config(self, kind: type[Stage], section: str) -> Stage:
        """Return the settings of a stage; ``settings`` are KEY=VALUE that begin with the section."""
        own = [text.removeprefix(f"{section}.") for text in self.settings if text.startswith(f"{section}.")]
        return load_training(kind, section, self.recipe, own, self.seed)

    def render(self) -> None:
        """Render what is missing."""
        size = self.config(GeometryTrainingConfig, "geometry").network.image_size
        for count, (split, offset) in zip(self.scenes, SPLITS.items(), strict=True):
            settings = WorldSettings(
                layout="kitti360",
                side_pictures=True,
                rig=Rig(size),
                scenes=count,
                frames=self.frames,
                split=split,
                seed=self.seed * SEED_STEP + offset,
            )
            write_world(self.drives, settings)

    def learn(self) -> tuple[Path, Path]:
        """Run both stages; return their folders."""
        geometry = self.config(GeometryTrainingConfig, "geometry")
        size = geometry.network.image_size
        scenes = open_scenes(self.drives, geometry.data, size)
        looked_at = open_scenes(self.drives, geometry.data, size, scored=True, depth=True)
        train_geometry(geometry, scenes, self.folder / "geometry", looked_at=looked_at, device="cpu")
        semantics = self.config(SemanticTrainingConfig, "semantics")
        labelled = open_scenes(self.drives, semantics.data, size, labels=True)
        looked_at = open_scenes(self.drives, semantics.data, size, scored=True, labels=True)
        train_semantics(
            semantics,
            self.folder / "geometry",
            labelled,
            self.folder / "semantics",
            looked_at=looked_at,
            device="cpu",
        )
        return self.folder / "geometry", self.folder / "semantics"

    def score(self, geometry: Path, semantics: Path) -> dict[str, Scores]:
        """Score on the test drives; ``views`` and ``voxels``."""
        config = self.config(GeometryTrainingConfig, "geometry")
        size = config.network.image_size
        views = open_labelled_views(self.drives, "test", size)
        torch.manual_seed(self.seed)
        networks: dict[str, SceneModel] = {
            "ground plane": GroundPlane(),
            "stage 1, untrained": NetworkScenes(start_network(config.network)),
            "stage 1": NetworkScenes(load_scenedino(geometry)),
            "stage 2": NetworkScenes(load_scenedino(semantics)),
        }
        seen = {name: evaluate_2d(model, views).values() for name, model in networks.items()}
        frames = SscbenchFrames(self.drives, None, "test", size=size)
        trained = networks["stage 2"]
        exact = {
            sample.images[0].numpy().tobytes(): sample for sample in (views[i] for i in range(len(views)))
        }
        models: dict[str, SceneModel] = {
            "empty": EmptyScene(),
            "ground plane, all road": GroundPlane(),
            "stage 2, seen surface only": BackProjection(trained),
            "stage 2": trained,
            "stage 2, linear probe": NetworkScenes(load_scenedino(semantics), "stego_linear"),
            "exact surface, exact classes": Truth(exact),
        }
        filled = {
            name: evaluate_ssc(model, frames, name=name, out=self.folder / "voxels" / name).values()
            for name, model in models.items()
        }
        return {"views": seen, "voxels": filled}

    def run(self) -> dict[str, Scores]:
        """Do everything that is not done yet."""
        done = self.folder / "scores.json"
        if not done.exists():
            self.render()
            write_json(done, defined(self.score(*self.learn())))
        found: dict[str, Scores] = json.loads(done.read_text())
        return found


def defined(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    """Leave out numbers that do not exist, such as the precision of a scene without matter."""
    return {
        kind: {row: {n: v for n, v in values.items() if math.isfinite(v)} for row, values in rows.items()}
        for kind, rows in scores.items()
    }


VIEW_COLUMNS: dict[str, tuple[str, float]] = {
    "abs_rel": ("depth_abs_rel", 1),
    "rmse (m)": ("depth_rmse", 1),
    "a1 %": ("depth_a1", 100),
    "mIoU of features' clusters": ("direct_cluster_miou", 100),
    "mIoU of codes' clusters": ("stego_cluster_miou", 100),
    "mIoU of linear probe": ("stego_linear_miou", 100),
}
VOXEL_COLUMNS: dict[str, tuple[str, float]] = {
    f"{label} {reach}": (f"{name}_{reach}", 100)
    for label, name in (("IoU", "iou"), ("mIoU", "miou"))
    for reach in (12.8, 25.6, 51.2)
}


def table(scores: Sequence[Scores], columns: Mapping[str, tuple[str, float]]) -> str:
    """Return means and deviations over the seeds as Markdown."""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in scores[0]:
        cells = []
        for name, factor in columns.values():
            values = [factor * one[row][name] for one in scores if one[row].get(name) is not None]
            spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.2f}{spread}" if values else "")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def progress_table(folders: Sequence[Path], stage: str, names: Sequence[str]) -> str:
    """Return what the validation drives showed during training, as means over the seeds."""
    logs = [
        [json.loads(line) for line in (folder / stage / "log.jsonl").read_text().splitlines()]
        for folder in folders
    ]
    number: Callable[[float], str] = "{:.3f}".format
    by_step: dict[int, list[dict[str, float]]] = {}
    for entry in (entry for log in logs for entry in log if f"validation/{names[0]}" in entry):
        by_step.setdefault(entry["step"], []).append(entry)
    lines = ["| step | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for step, entries in sorted(by_step.items()):
        cells = [number(mean(entry[f"validation/{name}"] for entry in entries)) for name in names]
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all parts that are not done yet, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, nargs=3, default=(40, 6, 12), help="drives of train, val, test")
    parser.add_argument("--frames", type=int, default=9, help="of a drive")
    parser.add_argument("--recipe", default="scenedino/tiny")
    parser.add_argument("settings", nargs="*", metavar="STAGE.KEY=VALUE", help="changes to the recipe")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folders = [arguments.out / f"seed_{seed}" for seed in arguments.seeds]
    scores = [
        Study(
            folder,
            seed,
            tuple(arguments.scenes),
            arguments.frames,
            arguments.recipe,
            tuple(arguments.settings),
        ).run()
        for folder, seed in zip(folders, arguments.seeds, strict=True)
    ]
    text = "\n".join(
        (
            table([one["views"] for one in scores], VIEW_COLUMNS),
            table([one["voxels"] for one in scores], VOXEL_COLUMNS),
            progress_table(folders, "geometry", ("abs_rel", "rmse", "cosine")),
            progress_table(
                folders, "semantics", ("code_clusters_miou", "direct_clusters_miou", "code_probe_miou")
            ),
        )
    )
    write_json(arguments.out / "results.json", dict(zip(map(str, arguments.seeds), scores, strict=True)))
    write_bytes(arguments.out / "tables.md", text.encode())
    print(text)
    print(f"results: {arguments.out / 'results.json'}; pictures: seed_*/*/pictures")


if __name__ == "__main__":
    main()
