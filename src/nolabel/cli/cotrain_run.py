"""``nolabel cotrain run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.cotrain_loops import DeviceB, Parallel
from nolabel.cli.options import Device, Overrides, Recipe, Seed, SourceData, TargetData, ValidationData


def run(
    out: Annotated[Path, typer.Option(help="Run folder; the same command again goes on in it.")],
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "auto",
    device_b: DeviceB = None,
    parallel: Parallel = False,
) -> None:
    """Do everything: colours, baseline, self-training, co-training, final labels and final training."""
    from nolabel.methods.cotraining.opening import load_settings, source_of, target_of, validation_of
    from nolabel.methods.cotraining.pipeline import run_pipeline

    config = load_settings(
        recipe, settings, source=source, target=target, validation=validate, seed=seed, device=device
    ).with_branches(device_b, parallel)
    result = run_pipeline(source_of(config), target_of(config), out, config, validation=validation_of(config))
    for name, value in result.scores.items():
        typer.echo(f"{name:20} mIoU {100 * value:5.1f}")
    typer.echo(f"report: {result.report}    network: {result.model}")
    typer.echo(f"next: nolabel cotrain predict {out} IMAGES --out predictions")
