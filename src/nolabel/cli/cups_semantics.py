"""``nolabel cups train-semantics``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides, Overwrite, RunFolder


def train_semantics(
    data: Annotated[Path, typer.Option(help="Stereo video, a folder of images, or a video.")],
    out: RunFolder,
    depth: Annotated[
        Path | None, typer.Option(help="Depth maps of images (PNG, brighter = farther); stereo needs none.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Stereo: calibration file, where the data folder has none.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Frozen features: descriptors, embedded, learnt, dino, or a timm model."),
    ] = None,
    backbone_weights: Annotated[Path | None, typer.Option(help="Checkpoint of the backbone.")] = None,
    motion: Annotated[
        str | None, typer.Option(help="Stereo: opencv, embedded, learnt, raft_smurf or raft_small.")
    ] = None,
    motion_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder of the motion network.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Stereo: size factor; default 1, Cityscapes 0.625 as published.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of a Cityscapes data set.")] = "train",
    labels: Annotated[
        Path | None, typer.Option(help="Labelled images, for scores only: no label teaches the network.")
    ] = None,
    label_split: Annotated[str, typer.Option(help="Part of the labelled images to score on.")] = "val",
    space: Annotated[str, typer.Option(help="Label space of the scores.")] = "cityscapes_27",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe, e.g. cups/tiny; its section semantics_training counts.")
    ] = None,
    overwrite: Overwrite = False,
    settings: Overrides = None,
) -> None:
    """Learn semantics for your footage from frozen features and depth (DepthG), without labels."""
    from nolabel.config import load_config
    from nolabel.methods.cups.depthg.config import DepthGConfig
    from nolabel.methods.cups.depthg.run import train_on

    chosen = {
        "backbone.name": backbone,
        "backbone.weights": backbone_weights,
        "motion.name": motion,
        "motion.weights": motion_weights,
    }
    overrides = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    config = load_config(
        DepthGConfig,
        recipe,
        [*overrides, *(settings or [])],
        section="semantics_training",
    )
    result = train_on(
        data,
        out,
        config,
        depth=depth,
        calibration=calibration,
        split=split,
        scale=scale,
        labels=labels,
        label_split=label_split,
        space=space,
        overwrite=overwrite,
    )
    for name, value in result.metrics.items():
        typer.echo(f"{name:<18}{value:.4g}")
    typer.echo(
        f"semantics: {out}    next: nolabel cups pseudo-label --data {data} --features depthg "
        f"--feature-weights {out} --out labels"
    )
