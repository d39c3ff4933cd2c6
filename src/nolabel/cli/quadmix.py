"""``nolabel quadmix``: domain adaptation by mixing in four directions, of images and of video."""

from __future__ import annotations

import typer

from nolabel.cli import quadmix_video

app = typer.Typer(
    no_args_is_help=True, help="Labelled synthetic data to networks for real images and video (QuadMix)."
)
app.add_typer(quadmix_video.app, name="video")
