"""KITTI-360's images brought to the size of the views once, fisheye images made perspective (spec ``scenedino.md`` 10.1).

Training reads eight images for each sample; decoding them small is what makes that bearable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nolabel.data.files import examples, list_images, read_image
from nolabel.data.kitti360 import KITTI360_SOURCE, prepared_folder, raw_folder, view_maker
from nolabel.data.kitti360_calibration import CAMERAS, read_kitti360_calibration
from nolabel.engine.labelling import ItemResult, LabellingSummary, label_items
from nolabel.errors import ConfigError, DataError
from nolabel.structures.files import encode_png

__all__ = ["PrepareTask", "prepare_kitti360"]

BLOCK = 20  # images of one work item


@dataclass(frozen=True)
class PrepareTask:
    """Blocks of images of one drive and camera.

    Attributes:
        root: KITTI-360.
        out: where the prepared images go, in the same tree.
        size: (height, width) of the views.
        blocks: (drive, camera, file names).
        reference_compat: as the original's pictures, see :func:`nolabel.geometry.fisheye_grid`.
    """

    root: Path
    out: Path
    size: tuple[int, int]
    blocks: tuple[tuple[str, str, tuple[str, ...]], ...]
    reference_compat: bool

    @property
    def fingerprint(self) -> str:
        """The calibration and the way images are made; the size is part of the names, so several may lie together."""
        digest = hashlib.sha256(f"views {self.reference_compat}".encode())
        for path in sorted((self.root / "calibration").iterdir()):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def items(self) -> Sequence[str]:
        """Size, drive, camera, first frame."""
        size = f"{self.size[0]}x{self.size[1]}"
        return [f"{size}_{drive}_{camera}_{Path(names[0]).stem}" for drive, camera, names in self.blocks]

    def setup(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The maps of all cameras."""
        calibration = read_kitti360_calibration(self.root / "calibration")
        cameras = {camera for _, camera, _ in self.blocks}
        return {name: view_maker(calibration, name, self.size, self.reference_compat) for name in cameras}

    def process(self, state: dict[str, Callable[[Tensor], Tensor]], index: int) -> ItemResult:
        """Bring a block of images to their size."""
        drive, camera, names = self.blocks[index]
        source = raw_folder(self.root, drive, camera)
        target = prepared_folder(Path(), drive, camera, self.size)
        files = {}
        for name in names:
            view = state[camera](read_image(source / name).as_subclass(Tensor))
            pixels = (view * 255).round().clamp(0, 255).permute(1, 2, 0).contiguous().numpy().astype(np.uint8)
            files[(target / f"{Path(name).stem}.png").as_posix()] = encode_png(pixels)
        return ItemResult(files)


def prepare_kitti360(
    root: str | Path,
    out: str | Path | None = None,
    *,
    size: tuple[int, int] = (192, 640),
    drives: Sequence[str] | None = None,
    cameras: Sequence[str] = CAMERAS,
    reference_compat: bool = False,
    executor: Any = "inline",
    workers: int = 1,
    shard: str | None = None,
    progress: bool = True,
) -> LabellingSummary:
    """Write the views of all images, or what is left of them.

    Args:
        root: KITTI-360, as :class:`~nolabel.data.kitti360.Kitti360Views` reads it.
        out: where; beside the originals by default.
        size: (height, width) of the views.
        drives: only these (names or parts of names).
        cameras: only these.
        reference_compat: as the original's preprocessing has them.
        executor, workers, shard, progress: see :func:`nolabel.engine.labelling.label_items`.

    Raises:
        DataError: there are no images, or some are damaged.
        ConfigError: no such camera.
    """
    root = Path(root)
    unknown = sorted(set(cameras) - set(CAMERAS))
    if unknown:
        raise ConfigError(f"KITTI-360 has no camera {examples(unknown)}", hint=f"known: {', '.join(CAMERAS)}")
    blocks = []
    for drive in sorted(path.name for path in (root / "data_2d_raw").glob("*") if path.is_dir()):
        if drives is not None and not any(part in drive for part in drives):
            continue
        for camera in cameras:
            names = [path.name for path in list_images(raw_folder(root, drive, camera))]
            blocks += [(drive, camera, tuple(names[i : i + BLOCK])) for i in range(0, len(names), BLOCK)]
    if not blocks:
        raise DataError(f"{root} holds no images to prepare", hint=KITTI360_SOURCE)
    place = root if out is None else Path(out)
    task = PrepareTask(root, place, size, tuple(blocks), reference_compat)
    summary = label_items(
        task, place, executor=executor, workers=workers, shard=shard, progress=progress, what="preparing"
    )
    summary.require_all("blocks of images")
    return summary
