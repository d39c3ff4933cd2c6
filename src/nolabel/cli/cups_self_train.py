"""``nolabel cups self-train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides, Overwrite, Recipe, RunFolder, ValidationData


def self_train(
    start: Annotated[Path, typer.Option("--from", help="Run folder or checkpoint of stage 2.")],
    out: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images, video, or data set; default: the images that stage 2 was trained on."
        ),
    ] = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    overwrite: Overwrite = False,
    settings: Overrides = None,
) -> None:
    """Let a trained network learn from its own averaged predictions on plain images."""
    from nolabel.config import load_config
    from nolabel.methods.cups.self_train import SelfTrainConfig
    from nolabel.methods.cups.self_train import self_train as run
    from nolabel.methods.cups.self_train_images import images_of_run, open_training_images
    from nolabel.methods.cups.training_scores import scorer

    config = load_config(SelfTrainConfig, recipe, settings, section="self_train")
    source = images_of_run(start) if data is None else data
    images = open_training_images(source, config.images, frames=out / "frames")
    score = None if validate is None else scorer(validate, config.validation)
    run(start, images, out, config, overwrite=overwrite, score=score)
    typer.echo(f"network: {out}    next: nolabel cups predict {out} IMAGES --out predictions")
