"""``nolabel cotrain evaluate`` and ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Labelled data set in its official layout, or images/ and labels/.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="Run folder, model.safetensors or model_final.pth.")
    ] = None,
    settings: Overrides = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score this folder of label maps, not a network.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data set.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write results, tables and pictures here.")] = None,
    visualize: Annotated[int, typer.Option(help="Pictures of so many images.")] = 0,
    device: Device = "auto",
) -> None:
    """Score a network, or label maps, on labelled images: IoU of every class, by the usual rule and the original's."""
    from nolabel.config import load_config
    from nolabel.engine.devices import pick_device
    from nolabel.errors import ConfigError
    from nolabel.methods.cotraining.evaluate import EvaluationConfig
    from nolabel.methods.cotraining.evaluate import evaluate as run
    from nolabel.methods.cotraining.model_file import load_model

    if predictions is not None and model is not None and "=" in model:
        settings, model = [model, *(settings or [])], None
    if (model is None) == (predictions is None):
        raise ConfigError("give a network or --predictions DIR, one of the two")
    given = {name: value for name, value in (("dataset", dataset), ("split", split)) if value is not None}
    config = load_config(EvaluationConfig, None, settings or (), **given)
    predictor = predictions if model is None else load_model(model, device=pick_device(device))
    assert predictor is not None
    result = run(predictor, data, config, out=out, visualize=visualize)
    typer.echo(result.text())
    if out is not None:
        typer.echo(f"results: {out}")


def predict(
    model: Annotated[str, typer.Argument(help="Run folder, model.safetensors or model_final.pth.")],
    images: Annotated[list[Path], typer.Argument(help="Images, folders or videos.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    device: Device = "auto",
) -> None:
    """Label any images: label maps (PNG, 255 for void) and overlays."""
    from nolabel.engine.devices import pick_device
    from nolabel.methods.cotraining.model_file import load_model
    from nolabel.methods.cotraining.predict_files import predict_to_folder

    loaded = load_model(model, device=pick_device(device))
    count = sum(predict_to_folder(loaded, source, out) for source in images)
    typer.echo(f"{count} images: {out / 'labels'}, {out / 'overlays'}")
