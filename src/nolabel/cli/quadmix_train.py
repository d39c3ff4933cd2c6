"""``nolabel quadmix prepare`` and ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import (
    Device,
    Overrides,
    Overwrite,
    Recipe,
    RunFolder,
    Seed,
    SourceData,
    TargetData,
    ValidationData,
)

__all__ = ["prepare", "train"]


def prepare(overrides: Overrides = None, recipe: Recipe = None, source: SourceData = None) -> None:
    """Count the classes of the source's label maps, once; a training that needs the counts finds them.

    `train` does this by itself. Done before, it can be done where the labels are, without a GPU.
    """
    from nolabel.data.class_statistics import cache_folder, class_statistics
    from nolabel.data.domain_images import open_source
    from nolabel.engine.progress import Progress
    from nolabel.methods.quadmix.image_data import image_settings

    config = image_settings(recipe, overrides, source=source)
    images = open_source(config.source, config.space)
    with Progress("counting classes", len(images), unit="images") as bar:
        statistics = class_statistics(images.joined, advance=bar.advance)
    totals = statistics.pixels.sum(0).tolist()
    for name, pixels, shown in zip(
        images.space.names, totals, (statistics.pixels > 0).sum(0).tolist(), strict=True
    ):
        typer.echo(f"{name:24} {pixels:14d} pixels in {shown:6d} images")
    typer.echo(f"counts: {cache_folder()}")


def train(
    out: RunFolder,
    overrides: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Go on from this training: run folder, or checkpoint of MIC, at start.step."),
    ] = None,
    seed: Seed = None,
    reference_compat: Annotated[
        bool, typer.Option("--reference-compat", help="As the published networks were trained.")
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train on labelled source and unlabelled target images; the same command again continues a stopped run.

    The settings say which method: mixing=null is MIC, adaptation.masked=null besides DACS (or DAFormer, with
    feature_distance and rare_classes), adaptation=null besides the source alone.
    """
    from nolabel.methods.quadmix.image_data import image_settings
    from nolabel.methods.quadmix.image_training import train_images

    config = image_settings(
        recipe,
        overrides,
        source=source,
        target=target,
        validation=validate,
        checkpoint=start,
        seed=seed,
        reference_compat=reference_compat,
    )
    result = train_images(config, out, device=device, overwrite=overwrite)
    if "miou" in result.metrics:
        typer.echo(f"mIoU {100 * result.metrics['miou']:.1f}")
    typer.echo(f"report: {result.report}    network: {result.model}")
    typer.echo(f"next: nolabel quadmix predict {out} IMAGES --out predictions")
