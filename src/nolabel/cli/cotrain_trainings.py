"""``nolabel cotrain translate-lab``, ``train-baseline`` and ``train-final``."""

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


def translate_lab(
    out: Annotated[Path, typer.Option(help="Folder of the new data set: images/, labels/.")],
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    executor: Annotated[str, typer.Option(help="inline, processes or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Processes or Ray actors.")] = 1,
) -> None:
    """Give source images the colours of the target (LAB statistics)."""
    from nolabel.methods.cotraining.opening import load_settings, source_of, target_of
    from nolabel.methods.cotraining.translate import translate_source

    config = load_settings(recipe, settings, source=source, target=target, seed=seed)
    translate_source(
        source_of(config),
        target_of(config),
        out,
        seed=config.translation.seed,
        executor=executor,
        workers=workers,
    )
    typer.echo(f"translated: {out}    next: nolabel cotrain train-baseline --source {out} --out baseline")


def train_baseline(
    out: RunFolder,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train on the source alone; --target is needed for colours at every look (translation.mode=online)."""
    from nolabel.methods.cotraining.opening import load_settings
    from nolabel.methods.cotraining.pipeline import train_baseline as train
    from nolabel.methods.cotraining.stage_data import open_stage_source, stage_scorer

    config = load_settings(
        recipe, settings, source=source, target=target, validation=validate, seed=seed, device=device
    )
    size = config.self_training.labels.size
    path = train(
        open_stage_source(config, [config.baseline], out),
        out,
        config.baseline,
        config.network,
        size=size,
        score=stage_scorer(config),
        device=config.device,
        overwrite=overwrite,
    )
    typer.echo(f"network: {path}    next: nolabel cotrain self-train --start {out} --out self_training")


def train_final(
    start: Annotated[str, typer.Option(help="Run folder or file of the baseline.")],
    labels: Annotated[
        Path, typer.Option(help="Folder written by `cotrain label`, or by a run's final labels.")
    ],
    out: RunFolder,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train on the source and the labels of all target images."""
    from nolabel.engine.segmentor_file import model_path
    from nolabel.methods.cotraining.opening import load_settings
    from nolabel.methods.cotraining.pipeline import train_final as train
    from nolabel.methods.cotraining.selection import read_selection
    from nolabel.methods.cotraining.stage_data import open_stage_source, stage_scorer

    config = load_settings(
        recipe, settings, source=source, target=target, validation=validate, seed=seed, device=device
    )
    path = train(
        model_path(start),
        open_stage_source(config, [config.final], out),
        read_selection(labels),
        out,
        config.final,
        score=stage_scorer(config),
        device=config.device,
        overwrite=overwrite,
    )
    typer.echo(f"network: {path}    next: nolabel cotrain predict {out} IMAGES --out predictions")
