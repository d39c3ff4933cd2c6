"""What each part of the labelling costs: pseudo-labels of the world with exact, borrowed, embedded and hand-made parts.

    PYTHONPATH=src python benchmarks/cups_parts_study.py --out parts --raft raft_small.pth --dinov2 vits14.safetensors

Flow and disparity are exact, from a network trained with labels (``raft_small``), from the network that the package
carries, or from OpenCV. Classes are exact, or clusters of features: somebody's (DINOv2), the package's, or hand-made
descriptors. Pseudo-labels of held-out scenes are scored, as :mod:`cups_study` does; nothing else uses ground truth but
the rows that say so. Every part is resumable. Percent, mean and standard deviation over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from cups_study import HELD_OUT, Study, default_proposals, save_tables, study_parser
from torch import Tensor

from nolabel.labels import CITYSCAPES_19, VOID
from nolabel.methods.cups.demo import cluster_quality, score
from nolabel.methods.cups.fusion import align_semantic_to_instances
from nolabel.methods.cups.prediction_folder import label_clusters
from nolabel.methods.cups.validate import target_of
from nolabel.metrics import PanopticQuality, PanopticScores
from nolabel.world import Rig, WorldSettings, write_world

EXACT = "exact"
DINOV2 = "vit_small_patch14_dinov2"
ROWS = (
    ("opencv", "descriptors"),
    ("opencv", "embedded"),
    ("opencv", "dinov2"),
    ("embedded", "embedded"),
    ("raft_small", "embedded"),
    (EXACT, "embedded"),
    ("opencv", EXACT),
    ("embedded", EXACT),
    ("raft_small", EXACT),
    (EXACT, EXACT),
)
"""Motion and features of every row: no grid, but what each part costs against its neighbours."""


@dataclass(frozen=True)
class PartsStudy(Study):
    """The labels of one seed; a switch is called ``motion+features``.

    Attributes:
        files: weights of motion or features that the package does not carry.
    """

    files: Mapping[str, Path] = field(default_factory=dict)

    def prepare(self) -> None:
        """Render both splits with exact motion."""
        for split, scenes, first in zip(("train", "val"), self.scenes, (0, HELD_OUT), strict=True):
            settings = WorldSettings(
                layout="cityscapes",
                style="real",
                scenes=scenes,
                frames=2,
                seed=self.seed * 10_000 + first,
                split=split,
                rig=Rig(size=(256, 512)),
                motion=True,
            )
            write_world(self.world, settings, workers=2, progress=True)

    def settings(self, switch: str, split: str) -> list[str]:
        """Return what a labelling changes against the recipe; rows of the same motion compute it once."""
        motion, features = switch.split("+")
        chosen = [
            f"motion.name={'files' if motion == EXACT else motion}",
            f"motion.cache={self.folder(motion, 'motion')}",
        ]
        if motion == EXACT:
            chosen.append(f"motion.folder={self.world / 'motion' / split}")
        elif motion in self.files:
            chosen.append(f"motion.weights={self.files[motion]}")
        if motion != "opencv":
            chosen += default_proposals()
        if features in self.files:
            chosen += [f"semantics.features={DINOV2}", f"semantics.weights={self.files[features]}"]
        else:
            chosen.append(f"semantics.features={features}")
        return chosen if split == "train" else [*chosen, self.clusters(switch)]

    def row(self, motion: str, features: str) -> PanopticScores:
        """Score the labels of a row on the held-out scenes."""
        switch, truth = labelling(motion, features), self.truth()
        labels, split = self.folder(switch, "labels") / "val", self.split(switch)

        def predict(index: int) -> Tensor:
            sample = truth[index]
            found = label_clusters(labels, sample["name"], split)
            return with_classes(found, target_of(sample)) if features == EXACT else found

        exact = PanopticQuality(None, None, CITYSCAPES_19, matching=False)
        return score(switch, predict, exact if features == EXACT else cluster_quality(split), truth)


def labelling(motion: str, features: str) -> str:
    """Return the switch whose labels a row reads; with exact classes only the objects of a labelling count."""
    return f"{motion}+{'embedded' if features == EXACT else features}"


def with_classes(found: Tensor, truth: Tensor) -> Tensor:
    """Return found objects (H, W, 2) with the true classes of (H, W, 2): each object with that of most of its pixels."""
    objects = found[..., 1].long()
    classes = align_semantic_to_instances(truth[..., 0].long(), objects, VOID + 1)
    return torch.stack([classes, objects], dim=-1)


def main() -> None:
    """Label and score every row that can be: rows whose weights are not given are left out."""
    parser = study_parser(__doc__)
    parser.add_argument("--raft", type=Path, help="weights of raft_small, trained with labels")
    parser.add_argument("--dinov2", type=Path, help="weights of DINOv2 ViT-S/14")
    arguments = parser.parse_args()
    files = {"raft_small": arguments.raft, "dinov2": arguments.dinov2}
    absent = {name for name, file in files.items() if file is None}
    rows = [row for row in ROWS if not absent & set(row)]
    given = {name: file for name, file in files.items() if file is not None}
    scores: dict[str, list[dict[str, float]]] = {}
    for seed in arguments.seeds:
        study = PartsStudy(arguments.out, seed, tuple(arguments.scenes), files=given)
        study.prepare()
        for row in rows:
            study.label(labelling(*row))
            values = study.row(*row).values()
            scores.setdefault(f"motion: {row[0]}, features: {row[1]}", []).append(values)
    save_tables(scores, arguments.out)


if __name__ == "__main__":
    main()
