"""``nolabel cups train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides, Overwrite, Recipe, RunFolder, ValidationData


def train(
    labels: Annotated[Path, typer.Option(help="Folder written by pseudo-label.")],
    out: RunFolder,
    data: Annotated[
        Path | None, typer.Option(help="The video that was labelled; default: where it was then.")
    ] = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    overwrite: Overwrite = False,
    settings: Overrides = None,
) -> None:
    """Train the panoptic network on pseudo-labels."""
    from nolabel.config import load_config
    from nolabel.methods.cups.pseudo_label_dataset import open_pseudo_labels
    from nolabel.methods.cups.train import TrainConfig
    from nolabel.methods.cups.train import train as run
    from nolabel.methods.cups.training_scores import scorer

    config = load_config(TrainConfig, recipe, settings, section="train")
    dataset = open_pseudo_labels(
        labels,
        data,
        thing_threshold=config.thing_threshold,
        only_non_empty=config.only_non_empty,
        ignore_unknown_things=config.ignore_unknown_things,
    )
    score = None if validate is None else scorer(validate, config.validation)
    run(dataset, out, config, overwrite=overwrite, score=score)
    typer.echo(f"network: {out}    next: nolabel cups predict {out} IMAGES --out predictions")
