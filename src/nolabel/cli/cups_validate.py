"""``nolabel cups validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Part, Threshold


def validate(
    model: Annotated[str, typer.Argument(help="Run folder, checkpoint, or 'embedded'.")],
    data: Annotated[Path, typer.Option(help="Labelled data set in the Cityscapes layout.")],
    space: Annotated[
        str, typer.Option(help="cityscapes_19, cityscapes_27 or cityscapes_7.")
    ] = "cityscapes_19",
    split: Annotated[str, typer.Option(help="Which part of the data set.")] = "val",
    scale: Annotated[float, typer.Option(help="Size factor of images and labels.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write results.json here.")] = None,
    align: Annotated[
        bool, typer.Option(help="Store the matching, so that predictions carry class names.")
    ] = False,
    device: Device = "auto",
    confidence_threshold: Threshold = None,
    part: Part = "student",
) -> None:
    """Score a network on labelled images: clusters are matched with classes, then PQ, SQ, RQ and mIoU."""
    from nolabel.api import load
    from nolabel.methods.cups.validate import report_scores, validate_on

    pipeline = load(
        "cups",
        None if model == "embedded" else model,
        device=device,
        part=part,
        confidence_threshold=confidence_threshold,
    )
    scores = validate_on(pipeline.model, data, split=split, space=space, scale=scale, store_alignment=align)
    typer.echo(report_scores(scores, out))
