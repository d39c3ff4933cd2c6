"""The whole of CUPS on the embedded world: render, label, train, score on held-out scenes, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch
from torch import Tensor

from nolabel.config import Config
from nolabel.data import CityscapesPanoptic, CityscapesStereoVideo
from nolabel.engine.progress import Progress
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cups.colour_baseline import ColourClusters
from nolabel.methods.cups.demo_report import write_report
from nolabel.methods.cups.labelled_images import LabelledImages
from nolabel.methods.cups.model_file import CupsModel, load_model
from nolabel.methods.cups.panoptic_training import run_training
from nolabel.methods.cups.predict import predict_clusters
from nolabel.methods.cups.prediction_folder import label_clusters
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.pseudo_label_dataset import PseudoLabelDataset
from nolabel.methods.cups.pseudo_labels import generate_pseudo_labels
from nolabel.methods.cups.statistics import ThingStuffSplit
from nolabel.methods.cups.train import NetworkTraining, TrainConfig, train
from nolabel.metrics import PanopticQuality, PanopticScores
from nolabel.structures.files import write_json
from nolabel.world import Rig, WorldSettings, write_world

__all__ = ["DemoConfig", "DemoResult", "run_demo"]

SPACE = CITYSCAPES_19
ROWS = ("colour_kmeans", "pseudo_labels", "network", "supervised")
MEASURES = ("pq", "sq", "rq", "pq_things", "pq_stuff", "miou")


class DemoConfig(Config):
    """What the demo renders, and how it labels and trains."""

    style: Literal["real", "synthetic"] = "real"
    """Style of the rendered world."""
    train_scenes: int = pydantic.Field(60, ge=1)
    """Scenes to label and train on."""
    test_scenes: int = pydantic.Field(20, ge=1)
    """Held-out scenes to score on."""
    size: tuple[int, int] = (256, 512)
    """Height and width of the images, pixels."""
    seed: int = pydantic.Field(0, ge=0)
    """Of the scenes."""
    pictured: int = pydantic.Field(6, ge=0)
    """Held-out frames shown in the report."""
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()
    """Settings of the labelling."""
    train: TrainConfig = TrainConfig()
    """Settings of both trainings: on pseudo-labels and, for comparison, on ground truth."""


@dataclass(frozen=True)
class DemoResult:
    """Scores in 0..1 by row, and the files of the demo."""

    scores: dict[str, dict[str, float]]
    report: Path
    results: Path

    def table(self) -> str:
        """Return the scores in percent, as text."""
        head = f"{'':<15}" + "".join(f"{name:>11}" for name in MEASURES)
        rows = (
            f"{row:<15}" + "".join(f"{100 * values[name]:>11.1f}" for name in MEASURES)
            for row, values in self.scores.items()
        )
        return "\n".join([head, *rows])


def run_demo(out: Path, config: DemoConfig, *, workers: int = 2) -> DemoResult:
    """Run every stage; each continues where an earlier call was stopped.

    Ground truth is used for the row ``supervised`` and for the scores alone: ``pseudo_labels`` and ``network`` see
    images and calibration only.

    Args:
        out: where everything goes.
        config: what to do.
        workers: processes for rendering and labelling.
    """
    world = render(out / "world", config, workers)
    videos = {split: CityscapesStereoVideo(world, split, scale=1.0, crop=None) for split in ("train", "val")}
    labels = {split: out / "pseudo_labels" / split for split in videos}
    settings = config.pseudo_labels
    summary = generate_pseudo_labels(
        videos["train"], labels["train"], settings, executor="processes", workers=workers
    )
    clusters = settings.semantics.replaced(cluster_file=labels["train"] / "clusters.safetensors")
    generate_pseudo_labels(
        videos["val"],
        labels["val"],
        settings.replaced(semantics=clusters),
        executor="processes",
        workers=workers,
    )
    dataset = PseudoLabelDataset(
        videos["train"], labels["train"], summary.split, only_non_empty=config.train.only_non_empty
    )
    network, supervised = train_both(dataset, world, out, config.train)
    colours = ColourClusters.fit(
        [videos["train"].image(i)["image"] for i in range(len(videos["train"]))],
        settings.semantics.clusters,
        seed=config.seed,
    )
    truth = CityscapesPanoptic(world, "val", SPACE.name)
    predictors: dict[str, Callable[[int], Tensor]] = {
        "colour_kmeans": lambda i: without_instances(colours(truth[i]["image"])),
        "pseudo_labels": lambda i: label_clusters(labels["val"], truth[i]["name"], summary.split),
        "network": lambda i: predict_clusters(network, [truth[i]["image"]])[0],
        "supervised": lambda i: predict_clusters(supervised, [truth[i]["image"]])[0],
    }
    metrics = {
        "colour_kmeans": PanopticQuality(settings.semantics.clusters, None, SPACE, split_things=False),
        "pseudo_labels": cluster_quality(summary.split),
        "network": cluster_quality(summary.split),
        "supervised": PanopticQuality(None, None, SPACE, matching=False),
    }
    scores = {name: score(name, predictors[name], metrics[name], truth) for name in ROWS}
    values = {name: {measure: scores[name].values()[measure] for measure in MEASURES} for name in ROWS}
    results = write_json(out / "results.json", values)
    report = write_report(out / "report.html", config, scores, predictors, videos["val"], truth, summary)
    return DemoResult(values, report, results)


def render(out: Path, config: DemoConfig, workers: int) -> Path:
    """Write the training and the held-out scenes in the Cityscapes layout."""
    for split, scenes, first in (("train", config.train_scenes, 0), ("val", config.test_scenes, 2_000_000)):
        settings = WorldSettings(
            layout="cityscapes",
            style=config.style,
            scenes=scenes,
            frames=2,
            seed=config.seed + first,
            split=split,
            rig=Rig(size=config.size),
        )
        write_world(out, settings, workers=workers, progress=True)
    return out


def train_both(
    dataset: PseudoLabelDataset, world: Path, out: Path, config: TrainConfig
) -> tuple[CupsModel, CupsModel]:
    """Train on pseudo-labels and, with the same budget, on ground truth.

    The two run side by side in processes of one thread each: small networks gain little from more threads.
    """
    with ProcessPoolExecutor(
        2, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        jobs: list[Future[Any]] = [
            pool.submit(train, dataset, out / "network", config),
            pool.submit(train_supervised, world, out / "supervised", config),
        ]
        for job in jobs:
            job.result()
    return load_model(out / "network"), load_model(out / "supervised")


def train_supervised(world: Path, out: Path, config: TrainConfig) -> None:
    """Train the same network with the same budget on ground truth."""
    dataset = LabelledImages(CityscapesPanoptic(world, "train", SPACE.name))
    task = NetworkTraining(dataset, config, out, len(SPACE.things), len(SPACE.stuff))
    run_training(task, progress=False)


def without_instances(clusters: Tensor) -> Tensor:
    """Return (H, W, 2): clusters and no instances."""
    return torch.stack([clusters, torch.zeros_like(clusters)], dim=-1)


def cluster_quality(split: ThingStuffSplit) -> PanopticQuality:
    """Return the metric for clusters of a thing/stuff split."""
    return PanopticQuality(len(split.stuff) + len(split.things), len(split.stuff), SPACE)


def score(
    name: str, predict: Callable[[int], Tensor], metric: PanopticQuality, truth: CityscapesPanoptic
) -> PanopticScores:
    """Score one row of the table on the held-out frames."""

    def targets() -> Iterator[Tensor]:
        for index in range(len(truth)):
            sample = truth[index]
            yield torch.stack(
                [torch.as_tensor(sample["semantic"]), torch.as_tensor(sample["instance"])], dim=-1
            )

    with Progress(f"score {name}", len(truth), unit="images") as progress:
        for index, target in enumerate(targets()):
            metric.update(predict(index)[None], target[None].long())
            progress.advance()
    return metric.compute()
