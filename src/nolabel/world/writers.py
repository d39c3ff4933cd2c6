"""Write rendered clips to disk in official layouts (Cityscapes, GTA5, COCO, VIPER, SYNTHIA-Seq, KITTI-360) or as plain
folders.

Every file is whole or absent and has the same bytes for the same settings; complete scenes are skipped, so the same
command continues an interrupted run.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19, cityscapes_label_ids
from nolabel.structures import Flow
from nolabel.structures.files import encode_json, encode_png, write_bytes, write_json
from nolabel.world.coco_files import coco_files, join_coco
from nolabel.world.encoding import image_png
from nolabel.world.kitti360_files import common_files, kitti360_files
from nolabel.world.photographs import photograph_files
from nolabel.world.render import Renderer, WorldFrame
from nolabel.world.scenes import generate_scene
from nolabel.world.settings import WorldSettings
from nolabel.world.truth import exact_flow
from nolabel.world.video_files import VIDEO_FILES


def instance_ids(frame: WorldFrame) -> np.ndarray:
    """Official instance ids (H, W) uint16: raw id * 1000 + k for things, the raw id for stuff."""
    raw = cityscapes_label_ids(CITYSCAPES_19)[frame.semantic.cpu().numpy()].astype(np.int64)
    instance = frame.instance.cpu().numpy()
    return np.where(instance > 0, raw * 1000 + instance - 1, raw).astype(np.uint16)


def disparity_png(frame: WorldFrame) -> bytes:
    """The official coding: round(disparity * 256) + 1 as 16 bit, 0 = unknown."""
    disparity = frame.disparity.cpu().double().numpy()
    coded = np.where(disparity > 0, np.round(disparity * 256) + 1, 0)
    return encode_png(np.clip(coded, 0, 65535).astype(np.uint16))


def motion_files(
    renderer: Renderer, folder: str, stem: str, next_stem: str, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    """Exact disparities of a frame, and flow to the next frame and back, in KITTI's 16-bit formats."""

    def disparity(eye: Callable[[], WorldFrame]) -> bytes:
        coded = (eye().disparity.cpu().double() * 256).round().clamp(0, 65535)
        return encode_png(coded.numpy().astype(np.uint16))

    left, right = eyes
    yield f"{folder}/disparity/{stem}.png", lambda: disparity(left)
    yield f"{folder}/disparity_right/{stem}.png", lambda: disparity(right)
    if following is not None:
        later = following[0]
        yield (
            f"{folder}/flow_forward/{stem}.png",
            lambda: Flow(exact_flow(renderer.scene, left(), later())[0]).png(),
        )
        yield (
            f"{folder}/flow_backward/{next_stem}.png",
            lambda: Flow(exact_flow(renderer.scene, later(), left())[0]).png(),
        )


def truth_npz(
    renderer: Renderer, frame: WorldFrame, following: WorldFrame | None, other_eye: WorldFrame
) -> bytes:
    """Everything exact about one left frame; flows lead to and from the `following` left frame, if there is one."""
    arrays: dict[str, Tensor] = {
        "depth": frame.depth, "disparity": frame.disparity, "semantic": frame.semantic.byte(),
        "instance": frame.instance.to(torch.int32), "matrix": frame.matrix, "camera_to_world": frame.camera_to_world,
        "disparity_right": other_eye.disparity, "visible_right": exact_flow(renderer.scene, frame, other_eye)[2],
    }  # fmt: skip
    if following is not None:
        flow, _, visible = exact_flow(renderer.scene, frame, following)
        back, _, visible_back = exact_flow(renderer.scene, following, frame)
        arrays |= {
            "flow_forward": flow, "visible_forward": visible, "flow_backward": back, "visible_backward": visible_back,
            "camera_to_world_next": following.camera_to_world,
        }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: value.cpu().numpy() for name, value in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def camera_json(renderer: Renderer) -> dict[str, Any]:
    """The official camera file; extrinsics follow the vehicle frame of Cityscapes (x forward, y left, z up)."""
    k = renderer.rig.matrix()
    ego = renderer.scene.ego
    return {
        "extrinsic": {
            "baseline": renderer.rig.baseline, "pitch": ego.tilt, "roll": 0.0, "x": 0.0, "y": renderer.rig.baseline / 2,
            "yaw": 0.0, "z": ego.height,
        },
        "intrinsic": {"fx": float(k[0, 0]), "fy": float(k[1, 1]), "u0": float(k[0, 2]), "v0": float(k[1, 2])},
    }  # fmt: skip


def _cityscapes_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    left, right = eyes
    left_png, right_png = cache(lambda: image_png(left())), cache(lambda: image_png(right()))
    stem = f"{s.city}_{scene:06d}_{index:06d}"

    def path(package: str, kind: str | None = None, suffix: str = "png") -> str:
        return f"{package}/{s.split}/{s.city}/{stem}_{kind or package}.{suffix}"

    yield path("leftImg8bit_sequence", "leftImg8bit"), left_png
    yield path("rightImg8bit_sequence", "rightImg8bit"), right_png
    if s.disparity:
        yield path("disparity_sequence", "disparity"), lambda: disparity_png(left())
    if s.truth:
        yield (
            path("truth", suffix="npz"),
            lambda: truth_npz(renderer, left(), following[0]() if following else None, right()),
        )
    if s.motion:
        next_stem = f"{s.city}_{scene:06d}_{index + 1:06d}_leftImg8bit"
        yield from motion_files(
            renderer, f"motion/{s.split}", f"{stem}_leftImg8bit", next_stem, eyes, following
        )
    if index not in s.annotated():
        return
    raw = cityscapes_label_ids(CITYSCAPES_19)

    yield path("leftImg8bit"), left_png
    yield path("rightImg8bit"), right_png
    yield path("camera", suffix="json"), lambda: encode_json(camera_json(renderer))
    yield path("gtFine", "gtFine_labelIds"), lambda: encode_png(raw[left().semantic.cpu().numpy()])
    yield (
        path("gtFine", "gtFine_labelTrainIds"),
        lambda: encode_png(left().semantic.cpu().numpy().astype(np.uint8)),
    )
    yield path("gtFine", "gtFine_instanceIds"), lambda: encode_png(instance_ids(left()))
    yield (
        path("gtFine", "gtFine_color"),
        lambda: encode_png(CITYSCAPES_19.palette[left().semantic.cpu().numpy()]),
    )
    if s.disparity:
        yield path("disparity"), lambda: disparity_png(left())


def _folder_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    left, right = eyes
    stem = f"{scene:06d}_{index:06d}"
    yield f"left/{stem}.png", lambda: image_png(left())
    yield f"right/{stem}.png", lambda: image_png(right())
    if s.disparity:
        yield f"disparity/{stem}.png", lambda: disparity_png(left())
    if s.truth:
        yield (
            f"truth/{stem}.npz",
            lambda: truth_npz(renderer, left(), following[0]() if following else None, right()),
        )
    if s.motion:
        yield from motion_files(renderer, "motion", stem, f"{scene:06d}_{index + 1:06d}", eyes, following)
    if index in s.annotated():
        yield (
            f"labels/{stem}_semantic.png",
            lambda: encode_png(left().semantic.cpu().numpy().astype(np.uint8)),
        )
        yield (
            f"labels/{stem}_instance.png",
            lambda: encode_png(left().instance.cpu().numpy().astype(np.uint16)),
        )


def _gta5_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    """Single images, numbered from 1, with palette label maps of Cityscapes' raw ids."""
    name = f"{scene * s.frames + index + 1:05d}.png"
    raw = cityscapes_label_ids(CITYSCAPES_19)
    palette = np.zeros((256, 3), np.uint8)
    palette[raw[: CITYSCAPES_19.num_classes]] = CITYSCAPES_19.palette[: CITYSCAPES_19.num_classes]
    yield f"images/{name}", lambda: image_png(eyes[0]())
    yield (
        f"labels/{name}",
        lambda: encode_png(raw[eyes[0]().semantic.cpu().numpy()].astype(np.uint8), palette),
    )


def _coco_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    yield from coco_files(s, scene, index, eyes[0])


def _photograph_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, eyes: _Eyes, following: _Eyes | None
) -> Iterator[_File]:
    yield from photograph_files(s, scene, index, eyes[0])


_Eyes = tuple[Callable[[], WorldFrame], Callable[[], WorldFrame]]
_File = tuple[str, Callable[[], bytes]]
_LAYOUTS = {
    "cityscapes": _cityscapes_files,
    "folder": _folder_files,
    "gta5": _gta5_files,
    "coco": _coco_files,
    "photographs": _photograph_files,
}


def scene_files(settings: WorldSettings, scene: int, device: str = "cpu") -> Iterator[_File]:
    """Relative path and content maker of every file of one clip; frames are only rendered when a content is made."""
    renderer = Renderer(generate_scene(settings.seed + scene), settings.style, settings.rig, device)
    rendered: dict[tuple[int, str], WorldFrame] = {}

    def eyes(index: int) -> _Eyes:
        def get(eye: Literal["left", "right"]) -> WorldFrame:
            for old in [key for key in rendered if key[0] < index - 2]:
                del rendered[old]
            if (index, eye) not in rendered:
                rendered[index, eye] = renderer.frame(index / settings.rig.fps, eye)
            return rendered[index, eye]

        return lambda: get("left"), lambda: get("right")

    for index in range(settings.frames):
        if settings.layout in VIDEO_FILES:
            files = VIDEO_FILES[settings.layout]
            yield from files(settings, renderer, scene, index, lambda place: eyes(place)[0]())
            continue
        if settings.layout == "kitti360":
            yield from kitti360_files(settings, renderer, scene, index)
            continue
        following = eyes(index + 1) if index + 1 < settings.frames else None
        yield from _LAYOUTS[settings.layout](settings, renderer, scene, index, eyes(index), following)


def write_scene(out: Path, settings: WorldSettings, scene: int, device: str = "cpu") -> bool:
    """Write the missing files of one clip; returns whether there were any."""
    written = False
    for name, content in scene_files(settings, scene, device):
        if not (out / name).exists():
            write_bytes(out / name, content())
            written = True
    return written


def _settings_record(settings: WorldSettings) -> dict[str, Any]:
    record = json.loads(json.dumps(asdict(settings)))
    del record["scenes"]  # more scenes may be added later
    if not record["motion"]:  # and so may files; worlds from before this setting have none
        del record["motion"]
    if not record["side_pictures"]:
        del record["side_pictures"]
    return record


def _check_folder(out: Path, settings: WorldSettings) -> None:
    """Refuse to mix settings in one folder; remember them for the next call."""
    parts = ("cityscapes", "cityscapes_seq", "viper", "kitti360")  # several worlds share a folder
    name = f"world_{settings.split}_{settings.city}.json" if settings.layout in parts else "world.json"
    record, path = _settings_record(settings), out / name
    if path.exists():
        old = json.loads(path.read_text())
        different = sorted(key for key in record if old.get(key) != record[key])
        if different:
            raise DataError(
                f"{out} holds a world made with other settings ({', '.join(different)})",
                hint="choose another folder, or give the settings that are in " + str(path),
            )
    else:
        write_json(path, record)


def _worker(job: tuple[Path, WorldSettings, int]) -> bool:
    torch.set_num_threads(1)
    return write_scene(*job)


def write_world(
    out: str | Path, settings: WorldSettings, *, workers: int = 1, device: str = "cpu", progress: bool = False
) -> int:
    """Write `settings.scenes` clips under `out`; returns how many were (partly) missing and are written now.

    Args:
        out: folder, made if absent.
        settings: what to render.
        workers: processes, one thread each (CPU only); 1 renders in this process.
        device: where to render with one worker.
        progress: show a progress bar on a terminal.

    Raises:
        DataError: the folder holds a world made with other settings.
    """
    out = Path(out)
    if workers < 1 or (workers > 1 and device != "cpu"):
        raise ConfigError(
            f"workers={workers} on {device}", hint="several workers render on the CPU; a GPU needs one"
        )
    _check_folder(out, settings)
    if settings.layout == "kitti360":
        for name, content in common_files(settings).items():
            write_bytes(out / name, content)
    if settings.layout == "folder":
        settings.rig.calibration().to_yaml(out / "calibration.yaml")
    jobs = [(out, settings, scene) for scene in range(settings.scenes)]
    if workers == 1:
        done: Iterator[bool] = (write_scene(*job, device) for job in jobs)
        written = sum(_watch(done, len(jobs), progress))
    else:
        with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
            written = sum(_watch(pool.imap_unordered(_worker, jobs), len(jobs), progress))
    if settings.layout in ("coco", "photographs"):
        join_coco(out)
    return written


def _watch(done: Iterator[bool], total: int, progress: bool) -> Iterator[bool]:
    if not progress or not sys.stderr.isatty():
        yield from done
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("rendering", total=total)
        for item in done:
            bar.advance(task)
            yield item


def write_cityscapes(
    out: str | Path, *, workers: int = 1, device: str = "cpu", progress: bool = False, **settings: Any
) -> int:
    """`write_world` in the official Cityscapes layout; `settings` are the fields of `WorldSettings`."""
    return write_world(
        out, WorldSettings(layout="cityscapes", **settings), workers=workers, device=device, progress=progress
    )


def write_folder(
    out: str | Path, *, workers: int = 1, device: str = "cpu", progress: bool = False, **settings: Any
) -> int:
    """`write_world` as a plain folder: left/, right/, calibration.yaml, labels/."""
    return write_world(
        out, WorldSettings(layout="folder", **settings), workers=workers, device=device, progress=progress
    )
