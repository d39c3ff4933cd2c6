"""``nolabel quadmix``: domain adaptation by mixing in four directions, of images and of video."""

from __future__ import annotations

import typer

from nolabel.cli import quadmix_video
from nolabel.cli.quadmix_train import prepare, train
from nolabel.cli.segmentation_use import evaluate, predict

app = typer.Typer(
    no_args_is_help=True,
    help="Labelled synthetic images or videos to a network for real ones (QuadMix, with DAFormer, HRDA, MIC, TPS).",
)
app.command()(prepare)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.add_typer(quadmix_video.app, name="video")
