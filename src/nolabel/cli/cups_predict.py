"""``nolabel cups predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Part, Threshold


def predict(
    model: Annotated[str, typer.Argument(help="Run folder, checkpoint, or 'embedded'.")],
    sources: Annotated[list[Path], typer.Argument(help="Images, folders of images, videos.")],
    out: Annotated[Path, typer.Option(help="Where the results go.")],
    device: Device = "auto",
    confidence_threshold: Threshold = None,
    part: Part = "student",
) -> None:
    """Predict any images: label maps, instances, COCO panoptic files and overlays."""
    from nolabel.api import load, predict_to_folder

    pipeline = load(
        "cups",
        None if model == "embedded" else model,
        device=device,
        part=part,
        confidence_threshold=confidence_threshold,
    )
    count = predict_to_folder(pipeline, sources, out)
    typer.echo(f"{count} predictions in {out}")
