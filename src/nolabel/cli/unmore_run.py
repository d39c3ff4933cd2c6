"""``nolabel unmore run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides, Seed


def run(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, best of one object each.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command again goes on in it.")],
    settings: Overrides = None,
    scenes: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images with many objects to find and to learn detection from; the photographs by default."
        ),
    ] = None,
    validate: Annotated[
        Path | None,
        typer.Option(help="COCO file, or folder of a data set, with true objects to score every stage on."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Network whose features are cut, as for `votecut`; the recipe's, or none, by default."
        ),
    ] = None,
    feature_weights: Annotated[list[Path] | None, typer.Option(help="Checkpoint of each.")] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Packaged recipe or YAML file; unmore/tiny is for two CPU cores, unmore/published for GPUs."
        ),
    ] = "unmore/tiny",
    seed: Seed = None,
    device: Device = "auto",
    executor: Annotated[str, typer.Option(help="inline, processes or ray.")] = "inline",
    workers: Annotated[int, typer.Option(min=1, help="Processes or Ray actors.")] = 1,
) -> None:
    """Do everything: masks from features, networks that learn objects from them, discovery, a detector."""
    from nolabel.methods.unmore.pipeline import run_pipeline
    from nolabel.methods.unmore.pipeline_report import SHOWN
    from nolabel.methods.unmore.pipeline_settings import load_pipeline

    config = load_pipeline(recipe, settings, features=features, feature_weights=feature_weights, seed=seed)
    result = run_pipeline(
        photos,
        out,
        config,
        scenes=scenes,
        validation=validate,
        device=device,
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
    )
    for stage, tasks in result.scores.items():
        for task, values in tasks.items():
            shown = "  ".join(f"{name} {values[name]:5.2f}" for name in SHOWN)
            typer.echo(f"{stage:12} {task:5} {shown}")
    typer.echo(f"report: {result.report}    network: {result.model}")
    typer.echo(f"next: nolabel unmore predict {result.model.parent} IMAGES --out predictions")
    for name, message in result.failed:
        typer.echo(f"failed: {name}: {message}", err=True)
    if result.failed:
        raise typer.Exit(1)
