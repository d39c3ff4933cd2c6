"""``evaluate`` and ``predict`` of ``nolabel cotrain`` and ``nolabel quadmix``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nolabel.cli.options import BatchSize, Device, Fps, MaxSide, Overrides, Part, Size

__all__ = ["evaluate", "predict"]


NetworkOptions = Annotated[
    str | None,
    typer.Option(
        help="Changes to the network that its weights do not depend on. HRDA: {window: 0}, the whole image at once; "
        "{fixed_attention: 0} and 1, the context or the detail alone.",
        metavar="{OPTION: VALUE}",
    ),
]


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled data set in its official layout, images/ and labels/, or a list of images."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            help="Run folder, model.safetensors or official model_final.pth; none with --predictions."
        ),
    ] = None,
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score this folder of PNGs (trainIds or colours), not a model.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data set; val by default.")] = None,
    space: Annotated[str | None, typer.Option(help="Classes to score: cityscapes_19, camvid_11, ...")] = None,
    labels: Annotated[Path | None, typer.Option(help="List of label maps, where --data is a list.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write results.json, scores.txt, classes.csv and pictures here.")
    ] = None,
    visualize: Annotated[str, typer.Option(metavar="N|all", help="Write pictures of so many images.")] = "0",
    save: Annotated[
        str | None,
        typer.Option(
            help="Write the network's predictions, too: labels, colours, confidence, ...", metavar="KIND,..."
        ),
    ] = None,
    void_metric: Annotated[
        bool, typer.Option("--void-metric", help="Also the mean with void as one more class.")
    ] = False,
    part: Part = "student",
    network: NetworkOptions = None,
    device: Device = "auto",
) -> None:
    """Score a network, or predictions on disk, on labelled images: IoU of every class, and means by both rules.

    The standard rule counts void predictions as errors; Co-Training's evaluator (c.t.) leaves them out. Cityscapes'
    means are over 19, 16 and 13 classes side by side. KEY=VALUE overrides any setting: mapping=classes.yaml,
    predicted_ids_of=cityscapes, batch_size=4, max_side=1024, views={scales: [0.75, 1, 1.25], flip: true}, ...
    """
    from nolabel.api.evaluate_segmentation import EvaluationConfig
    from nolabel.api.evaluate_segmentation import evaluate as score
    from nolabel.cli.predicting import formats_of
    from nolabel.config import load_config
    from nolabel.errors import ConfigError

    if predictions is not None and model is not None and "=" in model:
        overrides, model = (
            [model, *(overrides or [])],
            None,
        )  # without a model, the first setting took its place
    if (model is None) == (predictions is None):
        raise ConfigError(
            "give a model or --predictions DIR, one of the two", hint="model: run folder or file"
        )
    if visualize != "all" and not visualize.isdigit():
        raise ConfigError(f"--visualize {visualize}: not a number of images", hint="a number, or 'all'")
    if out is None and visualize != "0":
        raise ConfigError("pictures need a folder", hint="add --out FOLDER")
    given: dict[str, Any] = {"dataset": dataset, "split": split, "space": space, "labels": labels}
    given["void_metric"] = void_metric or None
    config = load_config(
        EvaluationConfig, None, overrides or [], **{k: v for k, v in given.items() if v is not None}
    )
    predictor = predictions if model is None else _loaded(model, part, network, device).model
    count = None if visualize == "all" else int(visualize)
    assert predictor is not None
    result = score(predictor, data, config, out=out, visualize=count, save=formats_of(save) or ())
    typer.echo(result.table())
    if out is not None:
        typer.echo(f"results: {out / 'results.json'}")
    if result.failed:
        raise typer.Exit(1)


def predict(
    model: Annotated[str, typer.Argument(help="Run folder, model.safetensors or official model_final.pth.")],
    sources: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, videos, lists of images (.txt).")
    ],
    out: Annotated[Path, typer.Option(help="Where the results go; files of the same names are replaced.")],
    save: Annotated[
        str | None,
        typer.Option(
            help="What to write, separated by commas: labels, colours, confidence, overlay, video, gallery. "
            "By default labels, gallery, and overlay for images, video for videos.",
            metavar="KIND,...",
        ),
    ] = None,
    size: Size = None,
    max_side: MaxSide = None,
    batch_size: BatchSize = 1,
    fps: Fps = None,
    part: Part = "student",
    network: NetworkOptions = None,
    device: Device = "auto",
) -> None:
    """Label any images: label maps with palette, overlays, videos, a page to look through.

    Images that cannot be read are named at the end, and the command leaves with code 1; the others are written.
    """
    from nolabel.cli.predicting import formats_of, report_predictions, size_of

    summary = _loaded(model, part, network, device).save(
        sources,
        out,
        formats_of(save),
        batch_size=batch_size,
        output_size=size_of(size),
        max_side=max_side,
        fps=fps,
    )
    report_predictions(summary)


def _loaded(model: str, part: str, options: str | None, device: str) -> Any:
    """Load a network for images."""
    import yaml

    from nolabel.api import VideoPipeline, load
    from nolabel.errors import ConfigError

    try:
        changes = yaml.safe_load(options or "{}")
    except yaml.YAMLError:
        changes = None
    if not isinstance(changes, dict):
        raise ConfigError(
            f"--network {options}: no settings", hint="such as --network '{fixed_attention: 0}'"
        )
    pipeline = load("quadmix", model, device=device, part=part, options=changes)
    if isinstance(pipeline, VideoPipeline):
        raise ConfigError(f"{model} is a network for video", hint="use `nolabel quadmix video`")
    return pipeline
