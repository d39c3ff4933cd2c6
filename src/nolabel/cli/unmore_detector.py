"""``nolabel unmore train-detector | evaluate | predict``: the detector, and the scores of every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import (
    BatchSize,
    Device,
    Fps,
    MaxSide,
    Overrides,
    Overwrite,
    Recipe,
    RunFolder,
    Size,
    Threshold,
)

__all__ = ["evaluate", "predict", "train_detector"]


def train_detector(
    images: Annotated[
        list[Path], typer.Option(help="Folder of the pictures; once for each folder they lie in.")
    ],
    labels: Annotated[
        Path, typer.Option(help="Objects in them: a label file of any stage, or any COCO file.")
    ],
    out: RunFolder,
    overrides: Overrides = None,
    validate: Annotated[
        Path | None,
        typer.Option(
            help="True objects (COCO file) to score on during training (fit.validate_every) and at its end."
        ),
    ] = None,
    validate_images: Annotated[
        Path | None, typer.Option(help="Folder of their pictures; by default beside the file.")
    ] = None,
    recipe: Recipe = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train the class-agnostic detector (Cascade Mask R-CNN) on objects that were found without labels.

    Labels count as much as their scores say, unlabelled objects are not punished (DropLoss), objects are pasted from
    image to image. An interrupted run is continued exactly by the same command. unmore/tiny trains in minutes on two
    CPU cores; without a recipe the settings are the published ones.
    """
    from nolabel.config import load_config
    from nolabel.methods.unmore.detector_data import open_detector_data
    from nolabel.methods.unmore.detector_settings import DetectorConfig
    from nolabel.methods.unmore.detector_training import train_detector as run
    from nolabel.methods.unmore.evaluate import validation_score

    config = load_config(DetectorConfig, recipe, overrides, section="detector")
    data = open_detector_data(images, labels, config.data, batch_size=config.fit.batch_size)
    score = None if validate is None else validation_score(validate, validate_images, config.validation)
    run(data, out, config, device=device, overwrite=overwrite, score=score)
    typer.echo(f"detector: {out}    next: nolabel unmore predict {out} IMAGES --out predictions")


def predict(
    model: Annotated[str, typer.Argument(help="Run folder of train-detector, or checkpoint.")],
    sources: Annotated[list[Path], typer.Argument(help="Images, folders of images, videos.")],
    out: Annotated[Path, typer.Option(help="Where the results go; files of the same names are replaced.")],
    save: Annotated[
        str | None,
        typer.Option(
            help="What to write, separated by commas: coco, labels, overlay, video, gallery. "
            "By default coco, gallery, and overlay for images, video for videos.",
            metavar="KIND,...",
        ),
    ] = None,
    size: Size = None,
    max_side: MaxSide = None,
    batch_size: BatchSize = 1,
    fps: Fps = None,
    device: Device = "auto",
    confidence_threshold: Threshold = None,
) -> None:
    """Detect objects in any images: COCO file with masks and scores, overlays, videos, a page to look through.

    Images that cannot be read are named at the end, and the command leaves with code 1; the others are written.
    """
    from nolabel.api import load
    from nolabel.cli.predicting import formats_of, report_predictions, size_of

    pipeline = load("unmore", model, device=device, confidence_threshold=confidence_threshold)
    summary = pipeline.save(
        sources,
        out,
        formats_of(save),
        batch_size=batch_size,
        output_size=size_of(size),
        max_side=max_side,
        fps=fps,
    )
    report_predictions(summary)


def evaluate(
    predictor: Annotated[
        str, typer.Argument(help="Detector (run folder, checkpoint), or JSON of predictions of any stage.")
    ],
    data: Annotated[
        Path, typer.Option(help="COCO label file, folder of a data set, or folder of data sets.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="coco_val2017, coco_star, coco20k, lvis, kitti, voc, objects365, openimages, uvo, clipart, comic, "
            "watercolor; by default the only one found."
        ),
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Folder of the pictures, where they lie elsewhere.")
    ] = None,
    masks: Annotated[
        bool | None,
        typer.Option("--masks/--no-masks", help="Score masks; by default where there are true ones."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score so many images, evenly spread over the set.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write ap_score.json, scores.csv, scores.txt, predictions.json here.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="How scores are printed: text, csv, json.", metavar="KIND")
    ] = "text",
    batch_size: BatchSize = 1,
    device: Device = "auto",
) -> None:
    """Score a detector, or objects found by any stage, on true objects: COCO's AP and AR without classes.

    All images of the label file count. A picture that cannot be read counts as one without objects; it is named at the
    end, and the command leaves with code 1.
    """
    import json

    from nolabel.engine.predicting import PredictionOptions
    from nolabel.errors import ConfigError
    from nolabel.methods.unmore.detector_model import open_predictor
    from nolabel.methods.unmore.evaluate import evaluate as run

    if form not in ("text", "csv", "json"):
        raise ConfigError(f"--format cannot be {form!r}", hint="text, csv or json")
    result = run(
        open_predictor(predictor, device),
        data,
        dataset=dataset,
        images=images or (),
        masks=masks,
        limit=limit,
        out=out,
        options=PredictionOptions(batch_size),
    )
    shown = {"text": result.table, "csv": result.csv, "json": lambda: json.dumps(result.record(), indent=2)}
    typer.echo(shown[form]())
    for path in result.files:
        typer.echo(f"{path.stem}: {path}", err=form != "text")
    for name, message in result.failed:
        typer.echo(f"failed: {name}: {message}", err=True)
    if result.failed:
        raise typer.Exit(1)
