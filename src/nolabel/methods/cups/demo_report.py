"""The demo's report: what went in, what every stage made of it, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nolabel import viz
from nolabel.data import CityscapesPanoptic, StereoVideoDataset
from nolabel.engine.seeding import generator_of
from nolabel.labels import CITYSCAPES_19, distinct_colours
from nolabel.methods.cups.proposals import object_proposals
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.metrics import PanopticScores
from nolabel.models.motion import build_motion

if TYPE_CHECKING:
    from nolabel.methods.cups.demo import DemoConfig
    from nolabel.methods.cups.pseudo_labels import PseudoLabelSummary

__all__ = ["as_classes", "panoptic_picture", "write_report"]

TITLES = {
    "colour_kmeans": "colour k-means, no instances",
    "pseudo_labels": "pseudo-labels (stereo video)",
    "network": "network trained on them (one image)",
    "supervised": "same network, ground truth",
}
MEASURES = (
    "pq",
    "sq",
    "rq",
    "pq_things",
    "sq_things",
    "rq_things",
    "pq_stuff",
    "sq_stuff",
    "rq_stuff",
    "miou",
)


def write_report(
    path: Path,
    config: DemoConfig,
    scores: Mapping[str, PanopticScores],
    predictors: Mapping[str, Callable[[int], Tensor]],
    video: StereoVideoDataset,
    truth: CityscapesPanoptic,
    summary: PseudoLabelSummary,
) -> Path:
    """Write one self-contained HTML file.

    Args:
        path: the file.
        config: what the demo did.
        scores: of each row, on the held-out frames.
        predictors: frame index -> (H, W, 2) clusters and instances, for each row.
        video: the held-out frames.
        truth: their labels, in the same order.
        summary: of the labelling of the training frames.
    """
    report = viz.Report(
        "nolabel demo: CUPS on the embedded world",
        f"{summary.statistics.images} training frames were labelled from stereo video without any annotation; a panoptic "
        f"network was trained on them and scored on {len(truth)} held-out scenes. Ground truth was used for the row "
        f"“{TITLES['supervised']}” and, to give clusters a name, by the metric.",
    )
    report.heading("Scores on held-out scenes")
    rows = [[TITLES[name], *(100 * s.values()[m] for m in MEASURES)] for name, s in scores.items()]
    report.table(
        ["", *(m.replace("_", " ").upper() for m in MEASURES)], rows, "Percent. Classes: Cityscapes' 19."
    )
    report.image(
        viz.bar_plot(
            ["PQ", "PQ things", "PQ stuff", "mIoU"],
            {
                TITLES[name]: [100 * v for v in (s.pq, s.pq_things, s.pq_stuff, s.miou)]
                for name, s in scores.items()
            },
            title="held-out scenes, percent",
        ),
        "The table as bars.",
        "png",
    )
    report.heading("Panoptic quality by class")
    classes = next(iter(scores.values())).class_names
    per_class = [
        [label, *(100 * float(s.pq_per_class[i]) for s in scores.values())] for i, label in enumerate(classes)
    ]
    report.table(
        ["class", *(TITLES[name] for name in scores)], per_class, "Percent; 0 where a class never occurs."
    )
    report.heading("How the labels came about")
    report.paragraph(summary.counts)
    for index in range(min(config.pictured, len(truth))):
        _frame(report, index, config.pseudo_labels, scores, predictors, video, truth)
    report.heading("Commands")
    report.code("nolabel demo --out demo")
    return report.save(path)


def _frame(
    report: viz.Report,
    index: int,
    settings: PseudoLabelConfig,
    scores: Mapping[str, PanopticScores],
    predictors: Mapping[str, Callable[[int], Tensor]],
    video: StereoVideoDataset,
    truth: CityscapesPanoptic,
) -> None:
    labelled = truth[index]
    position = video.names.index(labelled["name"])
    sample = video[position]
    image = torch.as_tensor(sample["left_0"])
    images = [torch.as_tensor(sample[key])[None] for key in ("left_0", "right_0", "left_1", "right_1")]
    motion = build_motion(settings.motion.name).stereo_video(*images)
    proposals = object_proposals(
        motion,
        sample["calibration"],
        torch.as_tensor(sample["valid"]),
        settings.proposals,
        generator_of(settings.seed, sample["name"]),
    )
    target = torch.stack(
        [torch.as_tensor(labelled["semantic"]), torch.as_tensor(labelled["instance"])], dim=-1
    )
    named = {
        name: as_classes(predict(index), scores[name].assignment) for name, predict in predictors.items()
    }
    clusters = predictors["pseudo_labels"](index)[..., 0]
    palette = np.zeros((256, 3), dtype=np.uint8)
    count = int(clusters[clusters < 255].max()) + 1
    palette[:count] = distinct_colours(count)
    pictures = {
        "left image": viz.to_picture(image),
        "disparity (OpenCV SGBM)": viz.disparity_colours(motion.disparity_0[0, 0]),
        "optical flow (OpenCV DIS)": viz.flow_colours(motion.flow_forward[0]),
        "motion segments of the first run": viz.instance_overlay(image, proposals.motion_labels),
        "object proposals": viz.instance_overlay(image, proposals.instances),
        "pseudo-classes": viz.label_colours(clusters, palette),
        "pseudo-label, matched to classes": panoptic_picture(image, named["pseudo_labels"]),
        "network": panoptic_picture(image, named["network"]),
        "network, supervised": panoptic_picture(image, named["supervised"]),
        "ground truth": panoptic_picture(image, target),
        "errors of the pseudo-label": viz.error_colours(named["pseudo_labels"][..., 0], target[..., 0]),
        "errors of the network": viz.error_colours(named["network"][..., 0], target[..., 0]),
    }
    report.heading(f"Held-out frame {labelled['name']}")
    report.gallery(list(pictures.values()), list(pictures), cell_width=380)


def as_classes(prediction: Tensor, assignment: np.ndarray) -> Tensor:
    """Replace the clusters of a (H, W, 2) map by their classes, 255 where there is none."""
    table = torch.full((256,), 255, dtype=torch.long)
    table[: len(assignment)] = torch.as_tensor(np.asarray(assignment), dtype=torch.long)
    return torch.stack([table[prediction[..., 0].clamp(0, 255)], prediction[..., 1]], dim=-1)


def panoptic_picture(image: Tensor, labels: Tensor) -> np.ndarray:
    """Draw a (H, W, 2) map of classes and instances over its image (3, H, W)."""
    things = torch.isin(labels[..., 0], torch.as_tensor(CITYSCAPES_19.things))
    return viz.panoptic_overlay(image, labels[..., 0], labels[..., 1] * things, CITYSCAPES_19)
