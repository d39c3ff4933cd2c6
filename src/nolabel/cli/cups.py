"""``nolabel cups``: train, validate and predict (pseudo-label has a module of its own)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.cups_pseudo_label import pseudo_label

app = typer.Typer(no_args_is_help=True, help="Stereo video to a panoptic network (CUPS).")
app.command("pseudo-label")(pseudo_label)

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Threshold = Annotated[float | None, typer.Option(help="Score from which instances are kept, 0..1.")]


@app.command()
def train(
    labels: Annotated[Path, typer.Option(help="Folder written by pseudo-label.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is continued.")],
    data: Annotated[
        Path | None, typer.Option(help="The video that was labelled; default: where it was then.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Packaged recipe (cups/tiny) or YAML file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Start anew where another run was.")] = False,
    settings: Overrides = None,
) -> None:
    """Train the panoptic network on pseudo-labels."""
    from nolabel.config import load_config
    from nolabel.methods.cups.pseudo_label_dataset import open_pseudo_labels
    from nolabel.methods.cups.train import TrainConfig
    from nolabel.methods.cups.train import train as run

    config = load_config(TrainConfig, recipe, settings or (), section="train" if recipe else None)
    dataset = open_pseudo_labels(
        labels,
        data,
        thing_threshold=config.thing_threshold,
        only_non_empty=config.only_non_empty,
        ignore_unknown_things=config.ignore_unknown_things,
    )
    run(dataset, out, config, overwrite=overwrite)
    typer.echo(f"network: {out}    next: nolabel cups predict {out} IMAGES --out predictions")


@app.command()
def validate(
    model: Annotated[str, typer.Argument(help="Run folder, checkpoint, or 'embedded'.")],
    data: Annotated[Path, typer.Option(help="Labelled data set in the Cityscapes layout.")],
    space: Annotated[
        str, typer.Option(help="cityscapes_19, cityscapes_27 or cityscapes_7.")
    ] = "cityscapes_19",
    split: Annotated[str, typer.Option(help="Which part of the data set.")] = "val",
    scale: Annotated[float, typer.Option(help="Size factor of images and labels.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write results.json here.")] = None,
    align: Annotated[
        bool, typer.Option(help="Store the matching, so that predictions carry class names.")
    ] = False,
    device: Device = "auto",
    confidence_threshold: Threshold = None,
) -> None:
    """Score a network on labelled images: clusters are matched with classes, then PQ, SQ, RQ and mIoU."""
    from nolabel.api import load
    from nolabel.methods.cups.validate import report_scores, validate_on

    pipeline = load(
        "cups",
        None if model == "embedded" else model,
        device=device,
        confidence_threshold=confidence_threshold,
    )
    scores = validate_on(pipeline.model, data, split=split, space=space, scale=scale, store_alignment=align)
    typer.echo(report_scores(scores, out))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Run folder, checkpoint, or 'embedded'.")],
    sources: Annotated[list[Path], typer.Argument(help="Images, folders of images, videos.")],
    out: Annotated[Path, typer.Option(help="Where the results go.")],
    device: Device = "auto",
    confidence_threshold: Threshold = None,
) -> None:
    """Predict any images: label maps, instances, COCO panoptic files and overlays."""
    from nolabel.api import load, predict_to_folder

    pipeline = load(
        "cups",
        None if model == "embedded" else model,
        device=device,
        confidence_threshold=confidence_threshold,
    )
    count = predict_to_folder(pipeline, sources, out)
    typer.echo(f"{count} predictions in {out}")
