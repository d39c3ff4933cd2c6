"""`nolabel world`: write clips of the procedural world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def world(
    out: Annotated[Path, typer.Argument(help="folder to write, made if absent")],
    layout: str = typer.Option(
        "cityscapes",
        help="stereo video: cityscapes, folder (left/ right/ calibration.yaml); images: gta5, coco "
        "(masks of things), photographs (of one thing each); "
        "video of one camera: viper, synthia_seq, cityscapes_seq; four posed cameras and voxels: kitti360",
    ),
    style: str = typer.Option("real", help="real (camera-like) or synthetic (clean, rendered-looking)"),
    scenes: int = typer.Option(50, min=1, help="number of clips"),
    frames: int = typer.Option(2, min=1, help="frames per clip (30 in Cityscapes)"),
    size: str = typer.Option("256x512", help="HEIGHTxWIDTH in pixels"),
    seed: int = typer.Option(0, min=0, help="scene i is drawn from seed + i"),
    split: str = typer.Option("train", help="train, val, ... (cityscapes layout)"),
    city: str = typer.Option("world", help="city name (cityscapes layout)"),
    baseline: float = typer.Option(0.5, help="distance of the two cameras, metres"),
    fps: float = typer.Option(10.0, help="frames per second"),
    annotate_all: bool = typer.Option(False, "--annotate-all", help="labels for every left frame"),
    disparity: bool = typer.Option(False, "--disparity", help="also 16-bit disparity PNGs"),
    truth: bool = typer.Option(
        False, "--truth", help="also NPZ files with depth, flow, visibility and poses"
    ),
    motion: bool = typer.Option(
        False,
        "--motion",
        help="also exact flow and disparity, as `cups pseudo-label --motion-folder` reads them",
    ),
    side_pictures: bool = typer.Option(
        False,
        "--side-pictures",
        help="kitti360: perspective pictures of the side cameras instead of fisheye images",
    ),
    workers: int = typer.Option(1, min=1, help="processes"),
    device: str = typer.Option("cpu", help="cpu or cuda (one worker)"),
) -> None:
    """Render stereo video of procedural streets with exact labels. The same command continues an interrupted run."""
    from nolabel.errors import ConfigError
    from nolabel.world import Rig, WorldSettings, write_world

    try:
        height, width = (int(value) for value in size.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--size {size!r} is not HEIGHTxWIDTH", hint="for example --size 256x512") from None
    settings = WorldSettings(
        layout=layout,  # type: ignore[arg-type]
        style=style,
        scenes=scenes,
        frames=frames,
        rig=Rig((height, width), baseline=baseline, fps=fps),
        seed=seed,
        split=split,
        city=city,
        annotate_all=annotate_all,
        disparity=disparity,
        truth=truth,
        motion=motion,
        side_pictures=side_pictures,
    )
    written = write_world(out, settings, workers=workers, device=device, progress=True)
    typer.echo(
        f"{out}: {settings.scenes} scenes, {written} of them written now, {settings.scenes - written} were there"
    )
