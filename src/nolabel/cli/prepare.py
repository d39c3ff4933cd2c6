"""``nolabel prepare``: bring data sets that come in other files into the layout their reader takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Bring data sets into the layout their reader takes.")


@app.callback()
def _prepare() -> None:
    """Keep the name of the only command: ``prepare waymo``."""


@app.command()
def waymo(
    source: Annotated[Path, typer.Argument(help="A folder of Waymo's .tfrecord files, or one of them.")],
    out: Annotated[Path, typer.Argument(help="Folder of the result.")],
    verify: Annotated[bool, typer.Option(help="Check the checksum of every record.")] = True,
) -> None:
    """Write Waymo's front camera and its panoptic labels as PNG files; no TensorFlow is needed.

    Scenes that are finished are skipped when the command is run again.
    """
    from nolabel.data import convert_waymo, waymo_records
    from nolabel.engine import Progress

    records = waymo_records(source)
    with Progress("converting", len(records), unit="scenes") as progress:
        scenes = convert_waymo(
            records,
            out,
            verify=verify,
            on_frame=lambda count: progress.advance(0, f"{count} frames of this scene"),
            on_scene=lambda scene: progress.advance(note=scene.error and f"{scene.file} failed"),
        )
    good = [scene for scene in scenes if not scene.error]
    skipped = sum(scene.skipped for scene in good)
    typer.echo(
        f"{sum(scene.labelled for scene in good)} labelled frames of {sum(bool(s.labelled) for s in good)} scenes in "
        f"{out}" + (f" ({skipped} files were done before)" if skipped else "")
    )
    for scene in scenes:
        if scene.error:
            typer.echo(f"failed: {scene.error}", err=True)
    if len(good) < len(scenes):
        raise typer.Exit(1)
