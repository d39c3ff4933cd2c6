"""``nolabel cups predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Part, Threshold


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
    size: Annotated[
        str | None,
        typer.Option(help="Size of the results; that of each image by default.", metavar="HEIGHTxWIDTH"),
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option(min=1, help="Scale larger images down to this longer side for the network, in pixels."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one size to predict together.")] = 1,
    track: Annotated[
        bool | None,
        typer.Option(
            "--track/--no-track",
            help="Keep ids and colours of objects over the images of a folder or video; by default for videos.",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0.1, help="Speed of written videos; that of the source, or 10, by default."),
    ] = None,
    device: Device = "auto",
    confidence_threshold: Threshold = None,
    part: Part = "student",
) -> None:
    """Predict any images: label maps, instances, COCO files, overlays, videos, a page to look through.

    Images that cannot be read are named at the end, and the command leaves with code 1; the others are written.
    """
    from nolabel.api import load

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
        None if save is None else [kind.strip() for kind in save.split(",") if kind.strip()],
        batch_size=batch_size,
        output_size=None if size is None else _size(size),
        max_side=max_side,
        track=track,
        fps=fps,
    )
    files = ", ".join(f"{count} {kind}" for kind, count in summary.written.items())
    typer.echo(f"{summary.count} images predicted; files in {summary.out}: {files}")
    for name, message in summary.failed:
        typer.echo(f"failed: {name}: {message}", err=True)
    if summary.failed:
        raise typer.Exit(1)


def _size(text: str) -> tuple[int, int]:
    """Read ``512x1024`` as (height, width)."""
    from nolabel.errors import ConfigError

    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise ConfigError(f"--size cannot be {text!r}", hint="write HEIGHTxWIDTH in pixels, such as 512x1024")
    return int(height), int(width)
