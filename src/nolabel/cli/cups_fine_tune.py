"""``nolabel cups fine-tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides, Overwrite, Recipe, RunFolder, ValidationData


def fine_tune(
    start: Annotated[
        Path, typer.Option("--from", help="Run folder or checkpoint that learnt without labels.")
    ],
    data: Annotated[
        Path, typer.Option(help="Labelled data set in its official layout, or images/ and labels/.")
    ],
    out: RunFolder,
    images: Annotated[
        int | None, typer.Option(help="How many labelled images to use, drawn at random; default: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of that draw.")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Text file that names the images instead, one a line.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Classes: cityscapes_19, ...; default: 19 of street scenes, or the data's."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the data set; default: train where there is one.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Size factor of images and labels.")] = 1.0,
    validate: ValidationData = None,
    recipe: Recipe = None,
    overwrite: Overwrite = False,
    settings: Overrides = None,
) -> None:
    """Teach a network that learnt without labels named classes, from a few labelled images."""
    from nolabel.config import load_config
    from nolabel.methods.cups.fine_tune import FineTuneConfig
    from nolabel.methods.cups.fine_tune import fine_tune as run
    from nolabel.methods.cups.labelled_images import choose_images, open_for_training
    from nolabel.methods.cups.training_scores import scorer

    chosen = {"images": images, "images_seed": seed, "images_list": listed}
    given = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    config = load_config(FineTuneConfig, recipe, [*given, *(settings or ())], section="fine_tune")
    labelled = choose_images(
        open_for_training(data, dataset, split, space=space, scale=scale),
        config.images,
        seed=config.images_seed,
        listed=config.images_list,
    )
    score = None if validate is None else scorer(validate, config.validation)
    run(start, labelled, out, config, overwrite=overwrite, score=score)
    typer.echo(f"network: {out}    next: nolabel cups predict {out} IMAGES --out predictions")
