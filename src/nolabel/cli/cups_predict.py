"""``nolabel cups predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import BatchSize, Device, Fps, MaxSide, Part, Size, Threshold


def predict(
    model: Annotated[str, typer.Argument(help="Run folder, checkpoint, or 'embedded'.")],
    sources: Annotated[list[Path], typer.Argument(help="Images, folders of images, videos.")],
    out: Annotated[Path, typer.Option(help="Where the results go; files of the same names are replaced.")],
    save: Annotated[
        str | None,
        typer.Option(
            help="What to write, separated by commas: labels, instances, coco, cityscapes, overlay, video, gallery. "
            "By default labels, coco, gallery, and overlay for images, video for videos.",
            metavar="KIND,...",
        ),
    ] = None,
    size: Size = None,
    max_side: MaxSide = None,
    batch_size: BatchSize = 1,
    track: Annotated[
        bool | None,
        typer.Option(
            "--track/--no-track",
            help="Keep ids and colours of objects over the images of a folder or video; by default for videos.",
        ),
    ] = None,
    fps: Fps = None,
    device: Device = "auto",
    confidence_threshold: Threshold = None,
    part: Part = "student",
) -> None:
    """Predict any images: label maps, instances, COCO files, overlays, videos, a page to look through.

    Images that cannot be read are named at the end, and the command leaves with code 1; the others are written.
    """
    from nolabel.api import load
    from nolabel.cli.predicting import formats_of, report_predictions, size_of

    pipeline = load(
        "cups",
        None if model == "embedded" else model,
        device=device,
        part=part,
        confidence_threshold=confidence_threshold,
    )
    summary = pipeline.save(
        sources,
        out,
        formats_of(save),
        batch_size=batch_size,
        output_size=size_of(size),
        max_side=max_side,
        track=track,
        fps=fps,
    )
    report_predictions(summary)
