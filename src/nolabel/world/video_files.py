"""Files of the video layouts: VIPER, SYNTHIA-Seq and Cityscapes' sequences, one camera, with labels and exact flow.

Flow lies on the grid of the newer frame and points into the older one, as UDASS' files do (spec ``udass_video.md`` 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from nolabel.labels import CITYSCAPES_19, VOID, cityscapes_label_ids, raw_table, space_map
from nolabel.structures.files import encode_png
from nolabel.structures.flow_tenths import TENTHS, encode_tenths
from nolabel.world.encoding import deep_colour_png, image_jpeg, image_png
from nolabel.world.render import Renderer, WorldFrame
from nolabel.world.truth import exact_flow

if TYPE_CHECKING:
    from nolabel.world.settings import WorldSettings

__all__ = ["VIDEO_FILES", "labelled_place"]

File = tuple[str, Callable[[], bytes]]
Frames = Callable[[int], WorldFrame]
FIRST_VIPER_FRAME = 9
"""So that the second frame of a clip is the first one that VIPER's benchmark takes (every tenth)."""
ANNOTATED = 19
"""Number of the labelled frame of a Cityscapes clip."""


def viper_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, frame: Frames
) -> Iterator[File]:
    """Every frame is labelled; clip i is sequence i + 1."""
    sequence, number = f"{scene + 1:03d}", FIRST_VIPER_FRAME + index
    stem = f"{sequence}_{number:05d}"
    yield f"{s.split}/img/{sequence}/{stem}.jpg", lambda: image_jpeg(frame(index))
    yield f"{s.split}/cls/{sequence}/{stem}.png", lambda: encode_png(_raw_ids(frame(index), "viper"))
    if s.motion and index:
        name = f"flow/{s.split}/{stem}{number - 1:05d}{TENTHS}"
        yield name, lambda: _flow(renderer, frame(index), frame(index - 1))


def synthia_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, frame: Frames
) -> Iterator[File]:
    """One folder for all clips; a missing number parts them."""
    stem = f"{scene * (s.frames + 1) + index:06d}"

    def labels() -> bytes:
        raw = _raw_ids(frame(index), "synthia_seq").astype(np.uint16)
        return deep_colour_png(np.stack([raw, np.zeros_like(raw), np.zeros_like(raw)], axis=-1))

    yield f"rgb/{stem}.png", lambda: image_png(frame(index))
    yield f"label/{stem}.png", labels
    if s.motion and index:
        yield f"flow/{stem}{TENTHS}", lambda: _flow(renderer, frame(index), frame(index - 1))


def labelled_place(frames: int) -> int:
    """Which of a clip's frames is labelled in the layout of Cityscapes' sequences: number 19, or the last one."""
    return min(ANNOTATED, frames - 1)


def cityscapes_files(
    s: WorldSettings, renderer: Renderer, scene: int, index: int, frame: Frames
) -> Iterator[File]:
    """Left frames; clips of up to 20 frames end with frame 19. Flow joins neighbours and next neighbours."""
    place = labelled_place(s.frames)
    first = ANNOTATED - place
    start = f"{s.city}_{scene:06d}_{first + index:06d}"

    def path(package: str, kind: str) -> str:
        return f"{package}/{s.split}/{s.city}/{start}_{kind}.png"

    yield path("leftImg8bit_sequence", "leftImg8bit"), lambda: image_png(frame(index))
    if index == place or s.annotate_all:
        raw = cityscapes_label_ids(CITYSCAPES_19)
        yield (
            path("gtFine", "gtFine_labelIds"),
            lambda: encode_png(raw[frame(index).semantic.cpu().numpy()].astype(np.uint8)),
        )
    for back in (1, 2):
        if s.motion and index >= back:
            yield (
                f"flow/{s.split}/{start}_{first + index - back:06d}{TENTHS}",
                lambda back=back: _flow(renderer, frame(index), frame(index - back)),  # type: ignore[misc]
            )


VIDEO_FILES = {"viper": viper_files, "synthia_seq": synthia_files, "cityscapes_seq": cityscapes_files}
"""Name -> files of one frame of a clip."""

_SPACES = {"viper": "viper_15", "synthia_seq": "synthia_seq_12"}


@cache
def _ids_of(dataset: str) -> np.ndarray:
    """The raw id of every class of our world in a data set; 0 where it has none."""
    space = _SPACES[dataset]
    classes, raw = space_map(CITYSCAPES_19, space), raw_table(dataset, space)
    ids = np.zeros(256, np.uint8)
    for label in range(CITYSCAPES_19.num_classes):
        if classes[label] != VOID:
            ids[label] = np.flatnonzero(raw == classes[label])[0]
    return ids


def _raw_ids(frame: WorldFrame, dataset: str) -> np.ndarray:
    return _ids_of(dataset)[frame.semantic.cpu().numpy()]


def _flow(renderer: Renderer, current: WorldFrame, older: WorldFrame) -> bytes:
    return encode_tenths(exact_flow(renderer.scene, current, older)[0])
