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

__all__ = ["predict", "train_detector"]


def train_detector(
    images: Annotated[
        list[Path], typer.Option(help="Folder of the pictures; once for each folder they lie in.")
    ],
    labels: Annotated[Path, typer.Option(help="Objects in them: a label file of any stage, or any COCO file.")],
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
