"""``nolabel scenedino prepare``, ``evaluate-2d``, ``evaluate-ssc``, ``evaluate-consistency``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nolabel.cli.options import Device, Overrides

if TYPE_CHECKING:
    from nolabel.methods.scenedino.scene_model import SceneModel

__all__ = ["evaluate_2d", "evaluate_consistency", "evaluate_ssc", "prepare"]

ViewSize = Annotated[str, typer.Option(help="Size of the views.", metavar="HEIGHTxWIDTH")]
Limit = Annotated[int | None, typer.Option(min=1, help="Score this many samples, evenly spread.")]
Mode = Annotated[
    Literal["stego_kmeans", "stego_linear", "direct_kmeans", "direct_linear"],
    typer.Option(help="What classes come from: clusters or a linear probe, on STEGO's code or the features."),
]


def prepare(
    data: Annotated[Path, typer.Argument(help="KITTI-360: data_2d_raw/, calibration/, ...")],
    size: ViewSize = "192x640",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; beside the originals by default.")
    ] = None,
    drives: Annotated[
        str | None, typer.Option(help="Only these drives (parts of names), separated by commas.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    shard: Annotated[str | None, typer.Option(help="Part of the work: I/N.")] = None,
    reference_compat: Annotated[
        bool, typer.Option("--reference-compat", help="Pictures to the pixel as the original makes them.")
    ] = False,
) -> None:
    """Bring KITTI-360's images to the size of the views once; fisheye images become perspective ones.

    Training reads eight images a sample; without this it works, too, but several times slower. The same command again
    continues a stopped one.
    """
    from nolabel.methods.scenedino.prepare import prepare_kitti360

    summary = prepare_kitti360(
        data,
        out,
        size=parse_size(size),
        drives=None if drives is None else drives.split(","),
        reference_compat=reference_compat,
        executor="inline" if workers == 1 else "processes",
        workers=workers,
        shard=shard,
    )
    typer.echo(f"next: nolabel doctor {data}; nolabel scenedino train --data {data}: {summary.out}")


def evaluate_2d(
    data: Annotated[Path, typer.Option(help="KITTI-360, Cityscapes, BDD100K, or an own rig with labels/.")],
    model: Annotated[Path, typer.Argument(help="Run folder, network file, or official checkpoint.")],
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="Part of the data.")] = "test",
    size: ViewSize = "192x640",
    protocol: Annotated[
        Literal["published", "released"], typer.Option(help="published: with CRF; released: without.")
    ] = "released",
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    limit: Limit = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw where samples on rays lie, as the original does; else their middles."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results.json.")] = None,
    device: Device = "auto",
) -> None:
    """Score rendered classes and depth of labelled views: Acc, mIoU after matching clusters with classes.

    KEY=VALUE overrides: crf=true, clusters=27, depth=false, depth_reference_compat=true.
    """
    from nolabel.config import load_config
    from nolabel.engine.devices import pick_device
    from nolabel.methods.scenedino.evaluate_2d import PROTOCOLS, Evaluation2dConfig
    from nolabel.methods.scenedino.evaluate_2d import evaluate_2d as run
    from nolabel.methods.scenedino.labelled_views import open_labelled_views

    config = load_config(Evaluation2dConfig, None, overrides or [], **PROTOCOLS[protocol])
    views = open_labelled_views(data, split, parse_size(size), dataset)
    place = pick_device(device)
    scenes = _scenes(model, parse_size(size), place, seed=seed)
    result = run(scenes, views, config, out=out, limit=limit, device=place)
    typer.echo(result.table())
    for path in result.files:
        typer.echo(f"{path.stem}: {path}")


def evaluate_ssc(
    data: Annotated[
        Path,
        typer.Option(
            help="Root of images and calibration/ (SSCBench's or KITTI-360's), or a kitti360 world."
        ),
    ],
    model: Annotated[
        Path | None, typer.Argument(help="Run folder, network file, or checkpoint; none with another source.")
    ] = None,
    voxels: Annotated[
        Path | None, typer.Option(help="Folder of <drive>/<frame>_1_1.npy; DATA/sscbench.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these label volumes (<drive>/<frame>_1_1.npy), not a model.")
    ] = None,
    space: Annotated[
        Literal["ssc_16", "sscbench_19"], typer.Option(help="Labels of --predictions.")
    ] = "ssc_16",
    baseline: Annotated[
        Literal["empty", "ground"] | None, typer.Option(help="Score a scene that needs no model.")
    ] = None,
    surface_only: Annotated[
        bool,
        typer.Option("--surface-only", help="Only what the model's rendered depth shows: no completion."),
    ] = False,
    split: Annotated[str, typer.Option(help="test (drive 0009), val (0006), or all.")] = "test",
    size: ViewSize = "192x640",
    mode: Mode = "stego_kmeans",
    limit: Limit = None,
    save_volumes: Annotated[
        bool, typer.Option("--save-volumes", help="Keep the label volumes in OUT.")
    ] = False,
    reference_compat: Annotated[
        bool, typer.Option("--reference-compat", help="Road where matter is only grown, as in the original.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of results.md and results.json.")] = None,
    device: Device = "auto",
) -> None:
    """Score semantic scene completion at 12.8, 25.6 and 51.2 m as SSCBench-KITTI-360 does."""
    from nolabel.data.sscbench import SscbenchFrames
    from nolabel.engine.devices import pick_device
    from nolabel.errors import ConfigError
    from nolabel.methods.scenedino.baselines import BackProjection, EmptyScene, GroundPlane
    from nolabel.methods.scenedino.evaluate_ssc import evaluate_ssc as run
    from nolabel.methods.scenedino.evaluate_ssc import evaluate_volumes

    if sum(source is not None for source in (model, predictions, baseline)) != 1:
        raise ConfigError("give a model, --predictions or --baseline, one of the three")
    if predictions is not None:
        result = evaluate_volumes(predictions, voxels or data / "sscbench", space=space, out=out)
    else:
        frames = SscbenchFrames(data, voxels, None if split == "all" else split, size=parse_size(size))
        place = pick_device(device)
        scenes: Any
        if model is not None:
            scenes = _scenes(model, parse_size(size), place, mode)
            scenes = BackProjection(scenes, _HEADS[mode]) if surface_only else scenes
        else:
            scenes = EmptyScene() if baseline == "empty" else GroundPlane()
        result = run(
            scenes,
            frames,
            name=str(model or baseline),
            out=out,
            limit=limit,
            device=place,
            reference_compat=reference_compat,
            save_volumes=save_volumes,
        )
    typer.echo(result.table())
    for path in result.files:
        typer.echo(f"{path.stem}: {path}")


def evaluate_consistency(
    data: Annotated[Path, typer.Option(help="KITTI-360, an own rig, or RealEstate10K.")],
    model: Annotated[Path, typer.Argument(help="Run folder, network file, or official checkpoint.")],
    split: Annotated[str, typer.Option(help="Part of the data.")] = "test",
    size: ViewSize = "192x640",
    step: Annotated[int, typer.Option(min=1, help="Frames between the two views.")] = 3,
    motion: Annotated[
        str,
        typer.Option(help="Optical flow: raft_large (as published), raft_small, opencv, embedded, learnt."),
    ] = "opencv",
    motion_weights: Annotated[Path | None, typer.Option(help="Checkpoint of that network.")] = None,
    limit: Limit = None,
    device: Device = "auto",
) -> None:
    """Compare features of two moments along optical flow: L1, L2 and cosine where a pixel is seen in both."""
    from nolabel.data import open_posed_views
    from nolabel.engine.devices import pick_device
    from nolabel.engine.motion_estimators import open_estimator
    from nolabel.methods.scenedino.evaluate_consistency import evaluate_consistency as run

    place = pick_device(device)
    options: dict[str, Any] = {"step": step}
    if (data / "data_2d_raw").is_dir():
        options |= {"stereo": False, "side_cameras": False}
    if (data / "frames_720").is_dir():
        options = {"spacing": step, "views": 2}
    views: Any = open_posed_views(data, split, size=parse_size(size), **options)
    scenes = _scenes(model, parse_size(size), place)
    scores = run(scenes, views, open_estimator(motion, place, motion_weights), limit=limit, device=place)
    typer.echo(f"L1 {scores.l1:.3f}    L2 {scores.l2:.3f}    cosine {scores.cosine:.3f}")
    typer.echo(f"seen in both views: {100 * scores.visible:.0f} % of the pixels; flow: {motion}")


_HEADS = {
    "stego_kmeans": "stego_cluster",
    "stego_linear": "stego_linear",
    "direct_kmeans": "direct_cluster",
    "direct_linear": "direct_linear",
}


def parse_size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH."""
    from nolabel.errors import ConfigError

    try:
        height, width = (int(value) for value in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"--size {text!r} is not HEIGHTxWIDTH", hint="for example --size 192x640") from None
    return height, width


def _scenes(
    model: Path, size: tuple[int, int], device: Any, mode: str = "stego_kmeans", seed: int | None = None
) -> SceneModel:
    """Open a network for evaluation."""
    from nolabel.methods.scenedino.network_files import load_scenedino
    from nolabel.methods.scenedino.network_scenes import NetworkScenes

    network = load_scenedino(model, image_size=size, device=device)
    return NetworkScenes(network, mode, seed=seed)  # type: ignore[arg-type]
