"""Pictures of every stage and the HTML report of a label folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.data.doctor_report import Finding
from nolabel.labels import LabelSpace, pseudo_space
from nolabel.methods.cups.proposals import ObjectProposals
from nolabel.methods.cups.pseudo_label_findings import image_notes
from nolabel.methods.cups.statistics import PseudoClassStatistics, ThingStuffSplit
from nolabel.models.motion import StereoMotion
from nolabel.structures.files import write_bytes
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
IMAGES_FILE = "images.csv"
IMAGES_SHOWN = 200
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
    failures: Mapping[str, tuple[str, str]],
    statistics: PseudoClassStatistics,
    split: ThingStuffSplit,
    totals: Mapping[str, int],
    findings: Sequence[Finding],
) -> Path:
    """Write ``report.html`` and ``images.csv``: first what needs attention, then stages, classes and every image."""
    report = Report(
        f"Pseudo-labels in {out.name}", f"{statistics.images} labelled stereo pairs. No label was read."
    )
    report.heading("What needs attention")
    if findings:
        report.table(
            ["", "what", "times", "for instance", "what to do next"],
            [
                [
                    "problem" if finding.is_problem else "note",
                    finding.kind,
                    finding.count,
                    "; ".join(finding.examples),
                    finding.remedy,
                ]
                for finding in findings
            ],
        )
    else:
        report.paragraph("Nothing: footage, calibration and labels look as they should.")
    report.heading("Stages")
    report.table(
        ["stage", "count", "per image"],
        [[name, count, count / max(1, len(records))] for name, count in totals.items()],
        "motions: motion segments of all runs; proposals: their connected parts; agreed: confirmed by most runs; "
        "distinct: after non-maximum suppression; kept: large enough; objects: left after the borders were cleared",
    )
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
    _add_images(report, out, records, failures)
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


def _add_images(
    report: Report,
    out: Path,
    records: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, tuple[str, str]],
) -> None:
    """Tell what became of each image: all in ``images.csv``, in the report those with something to say first."""
    rows: list[list[object]] = [
        [name, "no labels", "", "", "", "", message] for name, (message, _) in failures.items()
    ]
    for name, record in records.items():
        footage, stages = record["footage"], record["stages"]
        trusted = stages["valid_pixels"] / stages["pixels"]
        measured = [_shown(footage[key]) for key in ("camera_height", "step")]
        objects = f"{record['objects']} objects"
        rows.append(
            [name, objects, record["proposals"], f"{trusted:.2f}", *measured, "; ".join(image_notes(record))]
        )
    header = ["image", "result", "proposals", "trusted pixels", "camera height, m", "step, m", "notes"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *sorted(rows, key=lambda row: str(row[0]))])
    write_bytes(out / IMAGES_FILE, text.getvalue().encode())
    rows.sort(key=lambda row: (row[1] != "no labels", not row[-1], str(row[0])))
    report.heading("Images")
    report.table(header, rows[:IMAGES_SHOWN])
    if len(rows) > IMAGES_SHOWN:
        report.paragraph(f"{len(rows) - IMAGES_SHOWN} more are in {IMAGES_FILE}.")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
