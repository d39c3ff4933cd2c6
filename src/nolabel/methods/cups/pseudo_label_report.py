"""Pictures of every stage and the HTML report of a label folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.labels import LabelSpace, pseudo_space
from nolabel.methods.cups.proposals import ObjectProposals
from nolabel.methods.cups.statistics import PseudoClassStatistics, ThingStuffSplit
from nolabel.models.motion import StereoMotion
from nolabel.viz import (
    Report,
    contact_sheet,
    disparity_colours,
    flow_colours,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
    to_picture,
)

REPORT_FILE = "report.html"
PICTURES_SHOWN = 12


@dataclass(frozen=True)
class StagePictures:
    """The stages of one sample, to be drawn.

    Attributes:
        image: (3, H, W) left image at t0.
        motion: flow and disparity.
        proposals: moving objects.
        unfused: (H, W) pseudo classes before fusion.
        semantic: (H, W) pseudo classes after it.
        instances: (H, W) objects after it.
    """

    image: Tensor
    motion: StereoMotion
    proposals: ObjectProposals
    unfused: Tensor
    semantic: Tensor
    instances: Tensor

    def draw(self, space: LabelSpace) -> bytes:
        """Draw image, disparity, flow, motion segments, proposals, classes and fused labels as one JPEG."""
        rows = [
            [
                to_picture(self.image),
                disparity_colours(self.motion.disparity_0[0, 0]),
                flow_colours(self.motion.flow_forward[0]),
                instance_overlay(self.image, self.proposals.motion_labels),
            ],
            [
                to_picture(self.proposals.valid),
                instance_overlay(self.image, self.proposals.instances),
                semantic_overlay(self.image, self.unfused, space),
                panoptic_overlay(self.image, self.semantic, self.instances, space),
            ],
        ]
        sheet = contact_sheet(rows)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(sheet)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


def write_report(
    out: Path,
    records: Mapping[str, Mapping[str, Any]],
    statistics: PseudoClassStatistics,
    split: ThingStuffSplit,
    totals: Mapping[str, int],
    empty: Mapping[str, Sequence[str]],
    failed: Sequence[tuple[str, str]],
) -> Path:
    """Write ``report.html``: totals, reasons of empty images, the classes, failures and example pictures."""
    report = Report(
        f"Pseudo-labels in {out.name}", f"{statistics.images} labelled stereo pairs. No label was read."
    )
    report.heading("Stages")
    report.table(
        ["stage", "count", "per image"],
        [[name, count, count / max(1, len(records))] for name, count in totals.items()],
        "motions: motion segments of all runs; proposals: their connected parts; agreed: confirmed by most runs; "
        "distinct: after non-maximum suppression; kept: large enough; objects: left after the borders were cleared",
    )
    if empty:
        report.table(
            ["images without objects: emptied by", "images", "for instance"],
            [[stage, len(names), ", ".join(names[:3])] for stage, names in empty.items()],
        )
    if failed:
        report.heading("Failed images")
        report.table(["image", "reason"], [list(item) for item in failed])
    report.heading("Pseudo classes")
    space = pseudo_space(statistics.num_classes, split.things)
    total = max(1, int(statistics.all_pixels.sum()))
    report.table(
        ["class", "kind", "share of pixels", "share of its pixels that move", "objects"],
        [
            [
                space.names[c],
                "thing" if c in split.things else "stuff",
                int(statistics.all_pixels[c]) / total,
                int(statistics.inside_proposals[c]) / max(1, int(statistics.all_pixels[c])),
                int(statistics.per_proposal[c]),
            ]
            for c in (*split.things, *split.stuff)
        ],
    )
    drawn = sorted((out / "pictures").glob("*.jpg"))
    if drawn:
        report.heading("Examples")
        report.paragraph(
            "Image, disparity, flow, motion segments; trusted scene flow, objects, pseudo classes, fused labels."
        )
        step = -(-len(drawn) // PICTURES_SHOWN)
        for path in drawn[::step]:
            with Image.open(path) as picture:
                report.image(np.asarray(picture), path.stem)
    return report.save(out / REPORT_FILE)
