"""``nolabel cups fine-tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides


def fine_tune(
    start: Annotated[
        Path, typer.Option("--from", help="Run folder or checkpoint that learnt without labels.")
    ],
    data: Annotated[Path, typer.Option(help="Labelled data set in the Cityscapes layout.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is continued.")],
    images: Annotated[
        int | None, typer.Option(help="How many labelled images to use, drawn at random; default: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of that draw.")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Text file that names the images instead, one a line.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data set.")] = "train",
    space: Annotated[str, typer.Option(help="Classes: cityscapes_19, cityscapes_27, ...")] = "cityscapes_19",
    scale: Annotated[float, typer.Option(help="Size factor of images and labels.")] = 1.0,
    recipe: Annotated[str | None, typer.Option(help="Packaged recipe (cups/tiny) or YAML file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Start anew where another run was.")] = False,
    settings: Overrides = None,
) -> None:
    """Teach a network that learnt without labels named classes, from a few labelled images."""
    from nolabel.config import load_config
    from nolabel.data import CityscapesPanoptic
    from nolabel.methods.cups.fine_tune import FineTuneConfig
    from nolabel.methods.cups.fine_tune import fine_tune as run
    from nolabel.methods.cups.labelled_images import choose_images

    chosen = {"images": images, "images_seed": seed, "images_list": listed}
    given = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    config = load_config(
        FineTuneConfig, recipe, [*given, *(settings or ())], section="fine_tune" if recipe else None
    )
    labelled = CityscapesPanoptic(data, split, space, scale=scale)
    dataset = choose_images(labelled, config.images, seed=config.images_seed, listed=config.images_list)
    run(start, dataset, out, config, overwrite=overwrite)
    typer.echo(f"network: {out}    next: nolabel cups validate {out} --data {data}")
