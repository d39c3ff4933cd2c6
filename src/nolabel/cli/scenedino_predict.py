"""``nolabel scenedino predict``: scenes of any images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Fps, Overwrite

__all__ = ["predict"]


def predict(
    model: Annotated[
        str, typer.Argument(help="Run folder of distill (or train), network file, or official checkpoint.")
    ],
    sources: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, videos, lists of images (.txt).")
    ],
    out: Annotated[
        Path, typer.Option(help="Where the results go; an unfinished prediction in it is continued.")
    ],
    camera: Annotated[
        str | None,
        typer.Option(
            help="fx,fy,cx,cy in pixels of the images, a calibration.yaml, or the horizontal field of view in degrees. By "
            "default the calibration.yaml beside the images or one folder above, else a guess.",
            metavar="CAMERA",
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            help="What to write, separated by commas: depth, labels, features, feature_array, overlay, sheet, views, "
            "voxels, sscbench, ply, glb, page, video, gallery. By default depth, labels, features, overlay, gallery, and "
            "sheet, views, voxels, page for images, video for videos.",
            metavar="KIND,...",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting: voxels.reach=25.6, voxels.cell=0.1, voxels.placement=camera, voxels=null, "
            "mode=direct_kmeans, size=[192,640], samples=64, chunk=16384, matter=0.5, grow=false, features=none, ...",
            metavar="KEY=VALUE",
        ),
    ] = None,
    fps: Fps = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Depth, features, classes and voxels of any images: PNG, NPZ, PLY, GLB, and a page to walk around in the scene.

    Images that cannot be read are named at the end, and the command leaves with code 1; the others are written. The same
    command again does only what is missing.
    """
    from nolabel.cli.predicting import formats_of, report_predictions
    from nolabel.config import load_config
    from nolabel.engine.devices import pick_device
    from nolabel.methods.scenedino.predict import SceneSettings, load_predictor
    from nolabel.methods.scenedino.predict_files import predict_to_folder

    settings = load_config(SceneSettings, None, setting)
    summary = predict_to_folder(
        load_predictor(model, settings, device=pick_device(device)),
        sources,
        out,
        intrinsics=_camera_of(camera),
        formats=formats_of(save),
        fps=fps,
        overwrite=overwrite,
    )
    report_predictions(summary)


def _camera_of(text: str | None) -> list[float] | float | str | None:
    """Read ``552,552,682,238``, ``70``, or a path."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers
