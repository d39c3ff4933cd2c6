"""Flow and disparity from files, so that any network's output can be used.

::

    folder/flow_forward/<frame>.png       left frame -> next left frame
    folder/flow_backward/<frame>.png      left frame -> previous left frame
    folder/disparity/<frame>.png          left frame -> right frame
    folder/disparity_right/<frame>.png    right frame -> left frame

``<frame>`` is the name of a sample (``nolabel cups pseudo-label`` lists it in its report): the left image's file name
without suffix, with the clip's folder before it (``drive_a_0003``) where a data set has several. Every frame needs both
disparities, every pair the forward flow of its first and the backward flow of its second frame. Maps have the size of
the image files, or of the scaled and cropped samples.

=========  ====================================================  =============================================
suffix     flow                                                  disparity, pixels > 0; 0 = unknown
=========  ====================================================  =============================================
``.png``   KITTI: 16 bits, (64 dx + 32768, 64 dy + 32768, known)  KITTI: 16 bits, 256 d
``.npy``   float (2, H, W) or (H, W, 2); int16: tenths of pixels  float (H, W)
``.flo``   Middlebury                                            -
=========  ====================================================  =============================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.structures import Flow

__all__ = [
    "DISPARITIES",
    "FLOWS",
    "folder_hash",
    "read_disparity",
    "read_flow",
    "read_map",
]

FLOWS = ("flow_forward", "flow_backward")
DISPARITIES = ("disparity", "disparity_right")
_FLO_MAGIC = 202021.25
_DISPARITY_UNIT = 256.0


def read_map(folder: Path, kind: str, frame: str) -> Tensor:
    """Read the flow (2, H, W) or disparity (1, H, W) of a frame, in pixels; unknown is NaN in flow, 0 in disparity.

    Raises:
        DataError: there is no such file, or it is none of the known formats.
    """
    suffixes = (".png", ".npy", ".flo") if kind in FLOWS else (".png", ".npy")
    for suffix in suffixes:
        path = folder / kind / (frame + suffix)
        if path.is_file():
            return (read_flow if kind in FLOWS else read_disparity)(path)
    raise DataError(
        f"there is no {kind} of frame {frame} in {folder / kind}",
        hint=f"it is looked for as {frame}{{{','.join(suffixes)}}}; see nolabel.data.motion_files",
    )


def read_flow(path: Path) -> Tensor:
    """Read flow (2, H, W) float32 in pixels from KITTI PNG, ``.npy`` (int16 holds tenths) or ``.flo``; unknown is NaN.

    Raises:
        DataError: the file cannot be read as flow.
    """
    if path.suffix == ".png":
        flow = Flow.load(path)
        return torch.where(flow.known, flow.flow, torch.nan)
    array = _checked(path, _flo if path.suffix == ".flo" else np.load)
    channels_last = array.dtype == np.int16 or array.shape[0] != 2
    if array.ndim == 3 and array.shape[-1] == 2 and channels_last:
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 2:
        raise DataError(
            f"{path} holds an array of shape {array.shape}", hint="flow has (2, H, W) or (H, W, 2)"
        )
    values = np.ascontiguousarray(array, dtype=np.float32)
    return torch.from_numpy(values / np.float32(10) if array.dtype == np.int16 else values)


def read_disparity(path: Path) -> Tensor:
    """Read disparity (1, H, W) float32 >= 0 in pixels from KITTI PNG or ``.npy``; 0 = unknown.

    Raises:
        DataError: the file cannot be read as disparity.
    """
    if path.suffix == ".png":
        array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if array is None or array.dtype != np.uint16 or array.ndim != 2:
            raise DataError(
                f"{path} is no disparity file", hint="expected a 16-bit grey PNG, 256 times pixels"
            )
        values = array.astype(np.float32) / _DISPARITY_UNIT
    else:
        values = np.squeeze(_checked(path, np.load))
        if values.ndim != 2:
            raise DataError(f"{path} holds an array of shape {values.shape}", hint="disparity has (H, W)")
    known = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if float((known < 0).mean()) > 0.5:
        raise DataError(f"{path} holds negative disparities", hint="disparity is x_left - x_right, above 0")
    return torch.from_numpy(np.maximum(known, 0.0))[None]


def folder_hash(folder: Path) -> str:
    """SHA-256 (hex) over names and sizes of the motion files: which of them a result was made from.

    Raises:
        DataError: the folder, or one of the four kinds, is missing.
    """
    missing = [kind for kind in (*FLOWS, *DISPARITIES) if not (folder / kind).is_dir()]
    if missing:
        raise DataError(
            f"there is no folder {folder / missing[0]}",
            hint=f"precomputed motion lies in {', '.join((*FLOWS, *DISPARITIES))}; see nolabel.data.motion_files",
        )
    digest = hashlib.sha256()
    for kind in (*FLOWS, *DISPARITIES):
        for path in sorted((folder / kind).iterdir()):
            digest.update(f"{kind}/{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _flo(path: Path) -> np.ndarray:
    """Middlebury: the magic number, width, height, then (dx, dy) by rows, all little-endian 32 bits."""
    content = path.read_bytes()
    if len(content) < 12 or np.frombuffer(content, "<f4", 1)[0] != np.float32(_FLO_MAGIC):
        raise ValueError("it does not start with the magic number of .flo files")
    width, height = np.frombuffer(content, "<i4", 2, offset=4)
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)


def _checked(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        array = read(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="see nolabel.data.motion_files for formats"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{path} does not hold numbers", hint="see nolabel.data.motion_files for formats")
    return array
