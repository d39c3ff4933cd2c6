"""Opening posed views in whichever layout they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from torch.utils.data import Dataset

from nolabel.data.kitti360 import Kitti360Views
from nolabel.data.opening import find_layout
from nolabel.data.posed_views import PosedSample
from nolabel.data.realestate import RealEstateViews
from nolabel.data.rig_folder import RigFolderViews
from nolabel.errors import ConfigError, DataError

__all__ = ["POSED", "PosedLayout", "find_posed_layout", "open_posed_views"]

PosedLayout = Literal["kitti360", "rig", "realestate"]
POSED: dict[str, Callable[..., Dataset[PosedSample]]] = {
    "kitti360": Kitti360Views,
    "rig": RigFolderViews,
    "realestate": RealEstateViews,
}
"""Name -> data set; each has its own options."""


def open_posed_views(
    root: str | Path,
    split: str = "train",
    *,
    layout: PosedLayout | None = None,
    size: tuple[int, int] = (192, 640),
    **options: Any,
) -> Dataset[PosedSample]:
    """Open KITTI-360, an own rig (``rig.yaml``) or RealEstate10K.

    Args:
        root: the folder.
        split: part of the data.
        layout: where it cannot be told by looking, or should not.
        size: (height, width) of the views.
        options: of the data set's own constructor.

    Raises:
        DataError: the folder is in no such layout, or files are missing.
        ConfigError: an option the layout does not have.
    """
    name = layout or find_posed_layout(Path(root))
    if name not in POSED:
        raise ConfigError(f"no posed layout is called {name!r}", hint=f"known: {', '.join(POSED)}")
    try:
        return POSED[name](root, split, size=size, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ConfigError(
            f"{name}: {error}", hint=f"see the options of layout {name} in nolabel.data"
        ) from None


def find_posed_layout(root: Path) -> PosedLayout:
    """Tell the layout by looking.

    Raises:
        DataError: it is none of posed views.
    """
    if (root / "frames_720").is_dir():
        return "realestate"
    found = find_layout(root)
    if found not in POSED:
        raise DataError(
            f"{root} holds no posed views (it looks like: {found})",
            hint="KITTI-360's data_2d_raw, or an own rig.yaml with poses.txt; see docs/data.md",
        )
    return cast(PosedLayout, found)
