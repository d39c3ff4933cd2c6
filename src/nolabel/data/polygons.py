"""Cityscapes' label maps from its polygons, for folders that hold nothing else.

Source: UDASS specification (image) 4.3; the rules of cityscapesScripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from nolabel.errors import DataError
from nolabel.labels.cityscapes import MASTER

__all__ = ["polygon_codes"]

_VOID = ("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground")
_RAW_IDS = {name: raw_id for raw_id, name in enumerate(_VOID)} | {row.name: row.raw_id for row in MASTER}
_UNPAINTED = "license plate"
_THING_CATEGORIES = ("human", "vehicle")
_THINGS = {row.name for row in MASTER if row.category in _THING_CATEGORIES}


def polygon_codes(annotation: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Paint the polygons of an image, later ones over earlier ones.

    Deleted objects and license plates are left out. A name with ``group`` at its end that is no label itself is a group
    of objects, which has a class but no instances.

    Args:
        annotation: content of ``*_gtFine_polygons.json``.

    Returns:
        (H, W) as in ``*_instanceIds.png``: the raw class; for objects class * 1000 + number.

    Raises:
        DataError: a label is unknown, or this is no such annotation.
    """
    try:
        image = Image.new("I", (int(annotation["imgWidth"]), int(annotation["imgHeight"])), 0)
        objects = [(str(o["label"]), o["polygon"]) for o in annotation["objects"] if not o.get("deleted")]
        brush, numbers = ImageDraw.Draw(image), Counter[str]()
        for name, polygon in objects:
            label = name
            if name not in _RAW_IDS and name.endswith("group"):
                label = name.removesuffix("group")
            if label == _UNPAINTED:
                continue
            if label not in _RAW_IDS:
                raise DataError(
                    f"{name!r} is no label of Cityscapes", hint="the annotation is of another data set"
                )
            code = _RAW_IDS[label]
            if label in _THINGS and label == name:
                code = 1000 * code + numbers[label]
                numbers[label] += 1
            brush.polygon([(int(x), int(y)) for x, y in polygon], fill=code)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"no annotation of polygons: {error!r}", hint="Cityscapes' *_gtFine_polygons.json is wanted"
        ) from error
    return np.array(image).astype(np.int64)
