"""Scores of every stage and of every switch of CUPS on the embedded world, over several seeds.

    PYTHONPATH=src python benchmarks/cups_study.py --out study --seeds 0 1 2

For each seed a world is rendered and labelled, with each switch in turn; a network is trained on the labels (stage 2) and
on its own predictions (stage 3) by the recipe ``cups/tiny``. All are scored on held-out scenes, and ground truth is used
for that alone. ``--networks`` names the switches that networks are trained for; ``--raft`` adds labels whose motion comes
from a trained ``raft_small`` instead of OpenCV. Every part is resumable: the same command goes on where it was stopped.
The tables give mean and standard deviation over the seeds, in percent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import torch
from PIL import Image
from torch import Tensor

from nolabel import viz
from nolabel.config import load_config
from nolabel.data import CityscapesPanoptic, CityscapesStereoVideo
from nolabel.methods.cups.demo import DemoConfig, cluster_quality, render, score
from nolabel.methods.cups.demo_report import as_classes, panoptic_picture
from nolabel.methods.cups.model_file import CupsModel, load_model
from nolabel.methods.cups.predict import predict_clusters
from nolabel.methods.cups.prediction_folder import label_clusters, label_split
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.pseudo_label_dataset import open_pseudo_labels
from nolabel.methods.cups.pseudo_labels import generate_pseudo_labels
from nolabel.methods.cups.self_train import SelfTrainConfig, self_train
from nolabel.methods.cups.self_train_images import open_training_images
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig
from nolabel.methods.cups.statistics import ThingStuffSplit
from nolabel.methods.cups.train import TrainConfig, train
from nolabel.methods.cups.validate import target_of
from nolabel.metrics import PanopticScores
from nolabel.structures.files import atomic_path, write_bytes, write_json

MEASURES = ("pq", "pq_things", "pq_stuff", "sq", "rq", "miou")
RECIPE = "cups/tiny"
HELD_OUT = 2_000_000
SWITCHES: dict[str, tuple[str, ...]] = {
    "ours": (),
    "embedded": ("semantics.features=embedded",),
    "vanilla_se3": ("proposals.variant=vanilla",),
    "vanilla_semantics": ("semantics.depth_guided=false",),
    "not_aligned": ("align=false",),
}
"""What each set of labels changes against the recipe."""
OWN_CLUSTERS = ("ours", "embedded")
"""Switches that cluster their features; the others take the clusters of the first."""
TUNED_FOR_OPENCV = (
    "min_agreement",
    "grid_scale",
    "edge_size",
    "edge_threshold",
    "growth_reach",
    "min_frontal_surface",
)
"""Proposal settings that the recipe changes because of block matching's smeared edges."""


def default_proposals() -> tuple[str, ...]:
    """Return the settings that undo what the recipe changes for OpenCV."""
    fields = ObjectProposalConfig.model_fields
    return tuple(f"proposals.{name}={fields[name].default}" for name in TUNED_FOR_OPENCV)


def raft_switches(weights: Path) -> dict[str, tuple[str, ...]]:
    """Return the switches with a motion network: with the recipe's proposal settings, and with the defaults."""
    network = ("motion.name=raft_small", f"motion.weights={weights}")
    return {"raft_small": network, "raft_small_defaults": (*network, *default_proposals())}


@dataclass(frozen=True)
class Study:
    """Where one seed's files are, and how large its world is."""

    root: Path
    seed: int
    scenes: tuple[int, int]
    switches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: tuple[int, int] | None = None

    @property
    def world(self) -> Path:
        """Rendered scenes in the Cityscapes layout."""
        return self.root / f"seed_{self.seed}" / "world"

    def folder(self, switch: str, what: str) -> Path:
        """Labels or network of a switch."""
        return self.root / f"seed_{self.seed}" / switch / what

    def prepare(self) -> None:
        """Render the training and the held-out scenes."""
        config = DemoConfig(train_scenes=self.scenes[0], test_scenes=self.scenes[1], seed=self.seed * 10_000)
        render(self.world, config, workers=2)

    def label(self, switch: str) -> None:
        """Label both splits."""
        for split in ("train", "val"):
            chosen = self.settings(switch, split)
            settings = load_config(PseudoLabelConfig, RECIPE, chosen, section="pseudo_labels")
            video = CityscapesStereoVideo(self.world, split, scale=1.0, crop=None)
            out = self.folder(switch, "labels") / split
            generate_pseudo_labels(video, out, settings, executor="processes", workers=2)

    def settings(self, switch: str, split: str) -> list[str]:
        """Return what the labelling of a split changes against the recipe."""
        own = switch in OWN_CLUSTERS
        shared = [] if own and split == "train" else [self.clusters(switch if own else "ours")]
        return [*self.switches[switch], *shared]

    def clusters(self, switch: str) -> str:
        """Return the setting that takes the clusters of a switch's training split."""
        return f"semantics.cluster_file={self.folder(switch, 'labels') / 'train' / 'clusters.safetensors'}"

    def split(self, switch: str) -> ThingStuffSplit:
        """Return which clusters are things, by the statistics of the training labels."""
        threshold = load_config(TrainConfig, RECIPE, section="train").thing_threshold
        return label_split(self.folder(switch, "labels") / "train", threshold)

    def train(self, switch: str) -> None:
        """Stage 2, then stage 3."""
        settings = [[f"fit.seed={self.seed}"], [f"fit.seed={self.seed}"]]
        for chosen, steps in zip(settings, self.steps or (), strict=False):
            chosen.append(f"fit.steps={steps}")
        config = load_config(TrainConfig, RECIPE, settings[0], section="train")
        dataset = open_pseudo_labels(
            self.folder(switch, "labels") / "train",
            self.world,
            thing_threshold=config.thing_threshold,
            only_non_empty=config.only_non_empty,
            ignore_unknown_things=config.ignore_unknown_things,
        )
        train(dataset, self.folder(switch, "stage_2"), config)
        again = load_config(SelfTrainConfig, RECIPE, settings[1], section="self_train")
        out = self.folder(switch, "stage_3")
        images = open_training_images(self.world, again.images, frames=out / "frames")
        self_train(self.folder(switch, "stage_2"), images, out, again)

    def rows(self, switch: str, networks: bool) -> dict[str, Callable[[int], Tensor]]:
        """Return what predicts clusters (H, W, 2) for a held-out frame: labels and, perhaps, networks."""
        truth, split = self.truth(), self.split(switch)
        labels = self.folder(switch, "labels") / "val"

        def predict(model: CupsModel, index: int) -> Tensor:
            return predict_clusters(model, [truth[index]["image"]])[0]

        rows: dict[str, Callable[[int], Tensor]] = {
            "labels": lambda i: label_clusters(labels, truth[i]["name"], split)
        }
        parts = (("stage_2", "student"), ("stage_3", "student"), ("stage_3", "teacher")) if networks else ()
        for stage, part in parts:
            rows[f"{stage}_{part}"] = partial(predict, load_model(self.folder(switch, stage), part=part))
        return rows

    def score(self, switch: str, networks: bool) -> dict[str, PanopticScores]:
        """Score labels and networks on the held-out scenes."""
        quality = cluster_quality(self.split(switch))
        rows = self.rows(switch, networks)
        return {name: score(name, row, quality.clone(), self.truth()) for name, row in rows.items()}

    def truth(self) -> CityscapesPanoptic:
        """Open the held-out labels."""
        return CityscapesPanoptic(self.world, "val", "cityscapes_19")

    def draw(self, scores: dict[str, PanopticScores], frames: int) -> Path:
        """Draw held-out frames: image, truth, and what labels and networks say under the classes they were matched to."""
        truth, rows = self.truth(), self.rows("ours", networks=True)
        names = ("labels", "stage_2_student", "stage_3_student")
        pictures = []
        for index in torch.linspace(0, len(truth) - 1, frames).round().int().tolist():
            sample = truth[index]
            image = torch.as_tensor(sample["image"])
            predicted = (as_classes(rows[name](index), scores[name].assignment) for name in names)
            maps = (target_of(sample), *predicted)
            pictures.append([viz.to_picture(image), *(panoptic_picture(image, labels) for labels in maps)])
        titles = ("image", "truth", "pseudo-label", "network, stage 2", "network, stage 3")
        sheet = viz.contact_sheet(pictures, column_titles=titles, cell_width=320)
        path = self.root / "stages.jpg"
        with atomic_path(path) as temporary:
            Image.fromarray(sheet).save(temporary, "JPEG", quality=88)
        return path


def run_part(name: str, study: Study, switch: str) -> None:
    """Run one training chain in a process of its own, with one thread."""
    torch.set_num_threads(1)
    getattr(study, name)(switch)


def table(scores: dict[str, list[dict[str, float]]]) -> str:
    """Return the scores (by row, one for each seed) as Markdown: mean and standard deviation in percent."""
    lines = ["| | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for row, values in scores.items():
        cells = []
        for measure in MEASURES:
            numbers = [100 * value[measure] for value in values]
            spread = f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else ""
            cells.append(f"{mean(numbers):.1f}{spread}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save_tables(scores: dict[str, list[dict[str, float]]], out: Path) -> None:
    """Write the scores as JSON and as a table, and print that."""
    text = table(scores)
    results = write_json(out / "results.json", scores)
    write_bytes(out / "table.md", text.encode())
    print(f"{text}\nresults: {results}")


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all studies of the world are asked."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, nargs=2, default=[48, 24], help="training and held-out")
    return parser


def main() -> None:
    """Run all parts that are not done yet, then print the tables."""
    parser = study_parser(__doc__)
    parser.add_argument("--raft", type=Path, help="weights of raft_small: label with it too")
    parser.add_argument("--networks", nargs="*", default=["ours"], metavar="SWITCH")
    parser.add_argument("--steps", type=int, nargs=2, help="of stages 2 and 3; the recipe's by default")
    arguments = parser.parse_args()
    switches = SWITCHES if arguments.raft is None else SWITCHES | raft_switches(arguments.raft)
    if unknown := set(arguments.networks) - set(switches):
        parser.error(f"no switch is called {', '.join(sorted(unknown))}; there are {', '.join(switches)}")
    studies = [
        Study(arguments.out, seed, tuple(arguments.scenes), switches, arguments.steps)
        for seed in arguments.seeds
    ]
    for study in studies:
        study.prepare()
        for switch in switches:
            study.label(switch)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = [
            pool.submit(run_part, "train", study, switch)
            for switch in arguments.networks
            for study in studies
        ]
        for job in jobs:
            job.result()
    scores: dict[str, list[dict[str, float]]] = {}
    for study in studies:
        for switch in switches:
            found = study.score(switch, switch in arguments.networks)
            for name, values in found.items():
                scores.setdefault(f"{switch}: {name}", []).append(values.values())
            if study is studies[0] and switch == "ours":
                print(f"picture: {study.draw(found, frames=4)}")
    save_tables(scores, arguments.out)


if __name__ == "__main__":
    main()
