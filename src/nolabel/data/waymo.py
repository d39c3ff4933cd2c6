"""Waymo Open Dataset (perception, v1.4): from its TFRecords to the PNG files that the labelled reader takes.

The field numbers are those of the public schema, ``waymo_open_dataset/dataset.proto`` and
``camera_segmentation.proto``; neither TensorFlow nor Waymo's package is needed. See spec cups_model 7.1.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from nolabel.data.files import natural_key, read_json
from nolabel.data.protobuf import Message
from nolabel.data.tfrecord import read_records
from nolabel.errors import DataError
from nolabel.structures.files import DiskFullError, write_json, write_png

__all__ = ["WaymoScene", "convert_waymo", "convert_waymo_scene", "decode_panoptic", "waymo_records"]

# waymo.open_dataset.Frame, Context, CameraImage, CameraSegmentationLabel and its InstanceIDToGlobalIDMapping.
FRAME_CONTEXT, FRAME_IMAGES = 1, 4
CONTEXT_NAME = 1
CAMERA_NAME, CAMERA_IMAGE, CAMERA_SEGMENTATION = 1, 2, 10
SEGMENTATION_DIVISOR, SEGMENTATION_LABEL, SEGMENTATION_IDS = 1, 2, 3
LOCAL_ID, GLOBAL_ID = 1, 2
FRONT_CAMERA = 1

SOURCE = (
    "get the TFRecords of the perception data set v1.4 (individual_files/validation) from https://waymo.com/open "
    "(registration)"
)
_LARGEST = 65535
_STATE = ".waymo"
SPLIT = "validation"


@dataclass(frozen=True)
class WaymoScene:
    """What became of one TFRecord.

    Attributes:
        file: its name.
        scene: the name of the scene, which is that of the folder; empty for a file without frames.
        frames: frames in it.
        labelled: those with panoptic labels of the front camera, which were written.
        skipped: whether an earlier run had finished it.
        error: what was wrong with the file; empty where nothing was.
    """

    file: str
    scene: str = ""
    frames: int = 0
    labelled: int = 0
    skipped: bool = False
    error: str = ""


def waymo_records(source: str | Path) -> list[Path]:
    """List the TFRecords of a folder and its subfolders, or take the one file.

    Raises:
        DataError: there are none.
    """
    source = Path(source)
    found = [source] if source.is_file() else sorted(source.rglob("*.tfrecord"), key=natural_key)
    if not found:
        raise DataError(f"there are no .tfrecord files in {source}", hint=SOURCE)
    return found


def convert_waymo(
    records: Sequence[Path],
    out: str | Path,
    *,
    verify: bool = True,
    on_frame: Callable[[int], None] = lambda count: None,
    on_scene: Callable[[WaymoScene], None] = lambda scene: None,
) -> list[WaymoScene]:
    """Convert many scenes; a damaged file is noted in its :class:`WaymoScene` and the rest goes on.

    Args:
        records: the TFRecords, one scene each; see :func:`waymo_records`.
        out, verify, on_frame: see :func:`convert_waymo_scene`.
        on_scene: called after every scene.
    """
    scenes = []
    for record in records:
        try:
            scene = convert_waymo_scene(record, out, verify=verify, on_frame=on_frame)
        except DiskFullError:
            raise
        except DataError as error:
            scene = WaymoScene(record.name, error=error.message)
        on_scene(scene)
        scenes.append(scene)
    return scenes


def convert_waymo_scene(
    record: str | Path,
    out: str | Path,
    *,
    verify: bool = True,
    on_frame: Callable[[int], None] = lambda count: None,
) -> WaymoScene:
    """Write every front-camera frame of a scene that has panoptic labels.

    ::

        out/validation/<scene>/<i>_image.png       (H, W, 3), i = number of the frame in its scene, from 0
        out/validation/<scene>/<i>_semantic.png    8 bit, Waymo's class ids
        out/validation/<scene>/<i>_instance.png    16 bit, the ids that hold over the scene, 0 = none

    The folder appears when the scene is complete; a scene that an earlier call finished is skipped. One frame is in
    memory at a time.

    Args:
        record: a TFRecord.
        out: folder of the result, to be opened with ``open_labelled("waymo", out)``.
        verify: check the checksum of every record.
        on_frame: called with the number of frames so far.

    Raises:
        DataError: a file that is damaged or no Waymo record; file and offset are named.
    """
    record, out = Path(record), Path(out)
    finished = _finished(out, record)
    if finished is not None:
        return finished
    partial = out / _STATE / "partial" / record.stem
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    scene, frames, labelled = "", 0, 0
    try:
        for offset, data in read_records(record, verify=verify):
            try:
                name, written = _convert_frame(data, partial, frames)
            except DiskFullError:
                raise
            except DataError as error:
                raise DataError(
                    f"{record}: frame {frames} at byte {offset}: {error.message}",
                    hint="the file is no Waymo perception record, or is damaged: fetch it again",
                ) from None
            scene = scene or name or record.stem
            frames, labelled = frames + 1, labelled + written
            on_frame(frames)
        if labelled:
            target = out / SPLIT / scene
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    noted = {"scene": scene, "frames": frames, "labelled": labelled, "bytes": record.stat().st_size}
    write_json(_state_file(out, record), noted)
    return WaymoScene(record.name, scene, frames, labelled)


def _state_file(out: Path, record: Path) -> Path:
    return out / _STATE / f"{record.stem}.json"


def _finished(out: Path, record: Path) -> WaymoScene | None:
    """What an earlier run noted about this very file, if its folder is still there."""
    state = _state_file(out, record)
    if not state.is_file() or not record.is_file():
        return None
    noted = read_json(state)
    there = noted["labelled"] == 0 or (out / SPLIT / noted["scene"]).is_dir()
    if noted["bytes"] != record.stat().st_size or not there:
        return None
    return WaymoScene(record.name, noted["scene"], noted["frames"], noted["labelled"], skipped=True)


def _convert_frame(data: bytes, folder: Path, index: int) -> tuple[str, bool]:
    """Write the front camera of one frame; return the scene's name and whether there were labels."""
    frame = Message(data)
    contexts = frame.messages(FRAME_CONTEXT)
    name = contexts[-1].text(CONTEXT_NAME) if contexts else ""
    if name and not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"the scene is called {name!r}, which is no name of a folder")
    for camera in frame.messages(FRAME_IMAGES):
        if camera.integer(CAMERA_NAME) != FRONT_CAMERA or not camera.chunks(CAMERA_SEGMENTATION):
            continue
        label = camera.messages(CAMERA_SEGMENTATION)[-1]
        if not label.chunk(SEGMENTATION_LABEL):
            continue
        semantic, instance = decode_panoptic(label)
        image = _decode(camera.chunk(CAMERA_IMAGE), "camera image").convert("RGB")
        if image.size != (semantic.shape[1], semantic.shape[0]):
            raise DataError(f"labels of {semantic.shape[::-1]} pixels for an image of {image.size}")
        write_png(folder / f"{index}_image.png", np.asarray(image))
        write_png(folder / f"{index}_semantic.png", semantic)
        write_png(folder / f"{index}_instance.png", instance)
        return name, True
    return name, False


def decode_panoptic(label: Message) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Split a ``CameraSegmentationLabel`` into class ids and instance ids.

    A pixel of the PNG is class * divisor + instance; instances are numbered anew for each camera and frame, and the
    message maps them to ids that hold over the scene. Objects without such an id get free numbers above.

    Returns:
        (H, W) class ids and (H, W) instance ids, 0 = none.

    Raises:
        DataError: no divisor, a broken PNG, or ids that do not fit into 16 bits.
    """
    divisor = label.integer(SEGMENTATION_DIVISOR)
    if divisor < 1:
        raise DataError(f"panoptic labels with the divisor {divisor}")
    panoptic = np.asarray(_decode(label.chunk(SEGMENTATION_LABEL), "panoptic label")).astype(np.int64)
    if panoptic.ndim != 2:
        raise DataError(f"a panoptic label of shape {panoptic.shape}, not (H, W)")
    semantic, local = np.divmod(panoptic, divisor)
    known = {m.integer(LOCAL_ID): m.integer(GLOBAL_ID) for m in label.messages(SEGMENTATION_IDS)}
    known = {key: value for key, value in known.items() if key > 0}
    ids, places = np.unique(local, return_inverse=True)
    free = max(known.values(), default=0)
    table = []
    for number in ids.tolist():
        if number > 0 and number not in known:
            free += 1
            known[number] = free
        table.append(known.get(number, 0))
    if semantic.max(initial=0) > 255 or max(table, default=0) > _LARGEST:
        raise DataError(
            f"class {semantic.max(initial=0)} or instance {max(table, default=0)} is too large for the files"
        )
    instance = np.array(table, np.int64)[places].reshape(local.shape)
    return semantic.astype(np.uint8), instance.astype(np.uint16)


def _decode(content: bytes, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot decode the {what}: {error}") from None
    return image
