"""Small jobs on label maps: which images hold a class, which have a shape, and a vote of several maps.

Source: Co-Training specification, section 8 (helper tools).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nolabel.data.files import list_images
from nolabel.data.sampling import ClassStatistics
from nolabel.errors import ConfigError, DataError
from nolabel.labels import VOID, LabelSpace

__all__ = ["class_ids", "has_shape", "images_with_classes", "label_files", "majority_vote"]


def class_ids(names: Sequence[str], space: LabelSpace) -> list[int]:
    """Return the labels of classes named, or given as numbers.

    Raises:
        ConfigError: there is no such class.
    """
    found = []
    for name in names:
        label = int(name) if name.isdecimal() else space.names.index(name) if name in space.names else VOID
        if label >= space.num_classes:
            raise ConfigError(
                f"{space.name} has no class {name!r}", hint=f"classes: {', '.join(space.names)}"
            )
        found.append(label)
    return found


def images_with_classes(
    statistics: ClassStatistics, classes: Sequence[int], min_pixels: int = 0, *, every: bool = False
) -> list[int]:
    """Return the positions of the images with more than ``min_pixels`` pixels of a class.

    Args:
        statistics: of the data set.
        classes: the wanted ones; none: all images.
        min_pixels: least pixels of a class, exclusive.
        every: all of the classes must be there, rather than one.
    """
    if not classes:
        return list(range(len(statistics.names)))
    enough = statistics.pixels[:, list(classes)] > min_pixels
    positions: list[int] = (enough.all(1) if every else enough.any(1)).nonzero()[:, 0].tolist()
    return positions


def has_shape(
    image: Path, *, aspect: float | None = None, least: tuple[int, int] = (0, 0), tolerance: float = 0.01
) -> bool:
    """Say whether an image is so wide for its height, and large enough; only its header is read.

    Args:
        image: the file.
        aspect: width over height; None: any.
        least: (height, width) in pixels.
        tolerance: of the aspect.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(image) as picture:
            width, height = picture.size
    except OSError as error:
        raise DataError(f"cannot read {image}: {error}") from error
    fits = aspect is None or abs(width / height - aspect) <= tolerance
    return fits and height >= least[0] and width >= least[1]


def label_files(folder: Path) -> dict[str, Path]:
    """Return the label maps of a folder, or of its ``labels/``, by their stems.

    Raises:
        DataError: there are none.
    """
    folder = Path(folder) / "labels" if (Path(folder) / "labels").is_dir() else Path(folder)
    found = {path.stem: path for path in list_images(folder) if path.suffix.lower() == ".png"}
    if not found:
        raise DataError(f"{folder} holds no label maps", hint="PNGs, there or in labels/")
    return found


def majority_vote(maps: Tensor, num_classes: int, window: int = 1) -> Tensor:
    """Let several label maps of one image vote, pixel by pixel, neighbours included.

    Args:
        maps: (N, H, W) labels; what is not below ``num_classes`` (void) has no vote.
        num_classes: C.
        window: odd side of the square whose pixels vote about its centre.

    Returns:
        (H, W) uint8: the label with most votes; of equal ones that of the earlier map at this pixel, then the lowest;
        255 where nobody votes.

    Raises:
        ConfigError: the window is even.
    """
    if window < 1 or window % 2 == 0:
        raise ConfigError(f"a window of {window} pixels has no centre", hint="1, 3, 5, ...")
    ids = maps.long().clamp(0, num_classes)
    given = F.one_hot(ids, num_classes + 1)[..., :num_classes].permute(0, 3, 1, 2).float()
    votes = F.avg_pool2d(given.sum(0), window, 1, window // 2, divisor_override=1)
    # Votes are whole numbers: less than one in all settles ties and nothing else.
    earlier = 0.5 ** torch.arange(1, len(maps) + 1, device=maps.device)
    preferred = votes + (given * earlier[:, None, None, None]).sum(0) * (votes > 0)
    return preferred.argmax(0).masked_fill(votes.sum(0) == 0, VOID).to(torch.uint8)
