"""Pictures of labels: photograph and objects side by side, and contact sheets of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.structures.files import write_bytes
from nolabel.viz.layout import contact_sheet, side_by_side
from nolabel.viz.overlays import instance_overlay

__all__ = ["SHEET", "draw_labels", "write_sheet"]

SHEET = "contact_sheet.jpg"
COLUMNS, CELL_WIDTH = 4, 400  # pixels
QUALITY = 88


def draw_labels(image: Tensor, label: LabelledImage) -> bytes:
    """JPEG of an image (3, H, W), uint8 or in [0, 1], beside its objects; the better ones lie on top."""
    return _jpeg(side_by_side([image, instance_overlay(image, label.instances.id_map())]))


def write_sheet(path: Path, pictures: Sequence[Path], columns: int = COLUMNS) -> Path | None:
    """Write those of the pictures that exist as one sheet; None if there is none."""
    cells = [np.asarray(Image.open(picture).convert("RGB")) for picture in pictures if picture.is_file()]
    if not cells:
        return None
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return write_bytes(path, _jpeg(contact_sheet(rows, cell_width=CELL_WIDTH)))


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
