"""``nolabel cups validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nolabel.cli.options import Device, Overrides, Part, Threshold

if TYPE_CHECKING:
    from nolabel.methods.cups.validation_config import ValidationConfig


def validate(
    data: Annotated[
        Path, typer.Option(help="Labelled data set in its official layout, or images/ and labels/.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="Run folder, checkpoint, or 'embedded'; none with --predictions.")
    ] = None,
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score this folder of predictions or pseudo-labels, not a model.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Published protocol: cups/validate/cityscapes, ..., or a YAML file.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Classes to score: cityscapes_27, _19, _7, binary_2, ...")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data set.")] = None,
    scale: Annotated[float | None, typer.Option(help="Size factor of images and labels.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write results.json, report.html, overlays here.")] = None,
    visualize: Annotated[str, typer.Option(metavar="N|all", help="Write overlays of so many images.")] = "0",
    boxes: Annotated[bool, typer.Option(help="Draw boxes into the overlays.")] = False,
    align: Annotated[
        bool, typer.Option(help="Store the matching, so that predictions carry class names.")
    ] = False,
    device: Device = "auto",
    part: Part = "student",
    confidence_threshold: Threshold = None,
) -> None:
    """Score a network, or labels on disk, on labelled images: PQ, SQ, RQ, mIoU and accuracy.

    Clusters are matched with classes first. KEY=VALUE overrides any setting: tta.enabled=true, crop=published,
    matching.one_to_one=true, void_rule=panopticapi, ...
    """
    from nolabel.errors import ConfigError

    if predictions is not None and model is not None and "=" in model:
        overrides = [model, *(overrides or [])]  # there is no model, so the first setting took its place
        model = None
    if (model is None) == (predictions is None):
        raise ConfigError(
            "give a model or --predictions DIR, one of the two", hint="model: run folder or file"
        )
    given = {
        "dataset": dataset,
        "space": space,
        "split": split,
        "scale": scale,
        "confidence_threshold": confidence_threshold,
    }
    config = _config(recipe, overrides or [], {k: v for k, v in given.items() if v is not None})
    if visualize != "all" and not visualize.isdigit():
        raise ConfigError(f"--visualize {visualize}: not a number of images", hint="a number, or 'all'")
    if out is None and (visualize != "0" or boxes):
        raise ConfigError("overlays need a folder", hint="add --out FOLDER")
    _run(
        model,
        predictions,
        data,
        config,
        align=align,
        load_options={"device": device, "part": part},
        outputs={"out": out, "visualize": None if visualize == "all" else int(visualize), "boxes": boxes},
    )


def _config(recipe: str | None, overrides: list[str], given: dict[str, Any]) -> ValidationConfig:
    from nolabel.config import load_config
    from nolabel.methods.cups.validation_config import ValidationConfig

    return load_config(ValidationConfig, recipe, overrides, **given)


def _run(
    model: str | None,
    predictions: Path | None,
    data: Path,
    config: ValidationConfig,
    *,
    align: bool,
    load_options: dict[str, Any],
    outputs: dict[str, Any],
) -> None:
    from nolabel.api import load
    from nolabel.errors import ConfigError
    from nolabel.methods.cups.alignment import need_own_file, store_alignment
    from nolabel.methods.cups.validate import validate as run

    predictor: Any = predictions
    if model is not None:
        threshold = config.confidence_threshold
        weights = None if model == "embedded" else model
        predictor = load("cups", weights, confidence_threshold=threshold, **load_options).model
    if align and (predictions is not None or config.matching.mode != "find"):
        raise ConfigError("--align stores a matching found here, for a model", hint="leave --align out")
    if align:
        need_own_file(predictor.source)
    try:
        result = run(predictor, data, config, **outputs)
    except KeyboardInterrupt:
        typer.echo("interrupted: no results were written; the same command starts anew.", err=True)
        raise typer.Exit(130) from None
    typer.echo(result.table())
    if align:
        stored = store_alignment(predictor.source, result.classes, result.space, result.dataset)
        typer.echo(f"matching stored in {stored}")
    for path in result.files:
        typer.echo(f"{path.stem}: {path}")
    if result.failed:
        raise typer.Exit(1)
