"""``nolabel cotrain evaluate`` and ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, model.safetensors or model_final.pth.")],
    data: Annotated[
        Path, typer.Option(help="Labelled data set in its official layout, or images/ and labels/.")
    ],
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data set.")] = None,
    device: Device = "auto",
) -> None:
    """Score a network on labelled images: IoU of every class and their mean, void predictions as errors."""
    from nolabel.methods.cotraining.domains import open_validation
    from nolabel.methods.cotraining.model_file import load_model
    from nolabel.methods.cotraining.new_model import pick_device
    from nolabel.methods.cotraining.scoring import score_network
    from nolabel.methods.cotraining.settings import DataPart

    loaded = load_model(model, device=pick_device(device))
    opened = open_validation(DataPart(root=data, dataset=dataset, split=split), loaded.space.name)
    scores = score_network(loaded, opened)
    for name, value in zip(loaded.space.names, scores.iou, strict=True):
        typer.echo(f"{name:20} {100 * value:6.2f}")
    typer.echo(f"{'mIoU':20} {100 * scores.miou:6.2f}    accuracy {100 * scores.accuracy:.2f}")


def predict(
    model: Annotated[str, typer.Argument(help="Run folder, model.safetensors or model_final.pth.")],
    images: Annotated[list[Path], typer.Argument(help="Images, folders or videos.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    device: Device = "auto",
) -> None:
    """Label any images: label maps (PNG, 255 for void) and overlays."""
    from nolabel.methods.cotraining.model_file import load_model
    from nolabel.methods.cotraining.new_model import pick_device
    from nolabel.methods.cotraining.predict_files import predict_to_folder

    loaded = load_model(model, device=pick_device(device))
    count = sum(predict_to_folder(loaded, source, out) for source in images)
    typer.echo(f"{count} images: {out / 'labels'}, {out / 'overlays'}")
