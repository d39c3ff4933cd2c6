"""How many pixels every class has in every image, counted once and remembered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from nolabel.data.domains import JoinedLabelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.sampling import ClassStatistics, count_classes
from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19

__all__ = ["cache_folder", "class_statistics", "statistics_key"]

_VERSION = "2"  # of what is counted and how it is kept


def class_statistics(
    dataset: LabelledDataset | JoinedLabelled,
    *,
    cache: Path | None = None,
    threads: int = 2,
    advance: Callable[[int], object] | None = None,
) -> ClassStatistics:
    """Count the classes of a data set's label maps, at their own size, or take the counts of an earlier time.

    Where DAFormer's or MIC's tools left a ``sample_class_stats.json`` in the data set's folder, its counts are taken.

    The counts lie in a folder named by what they depend on: path, size and time of every label file, the table that
    reads them, and the classes. Changed, added or removed files therefore make new counts.

    Args:
        dataset: the labelled images.
        cache: folder for the counts; that of the user by default (:func:`cache_folder`).
        threads: that read label maps.
        advance: called with the number of images that were just counted or found.

    Raises:
        DataError: a label map cannot be read.
    """
    parts = dataset.parts if isinstance(dataset, JoinedLabelled) else [dataset]
    pixels = [_of_part(part, cache or cache_folder(), threads, advance).pixels for part in parts]
    return ClassStatistics(tuple(dataset.names), torch.cat(pixels))


def cache_folder() -> Path:
    """Return the user's cache of class statistics: ``$XDG_CACHE_HOME/nolabel/class_statistics``."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "nolabel" / "class_statistics"


def statistics_key(dataset: LabelledDataset) -> str:
    """Return the hash of all that the counts depend on; no file is opened."""
    digest = hashlib.sha256(f"{_VERSION}\n{dataset.space.names}\n".encode())
    digest.update(dataset.table.tobytes())
    for record in dataset.records:
        state = record.label.stat()
        digest.update(
            f"{record.name}\t{record.label.absolute()}\t{state.st_size}\t{state.st_mtime_ns}\n".encode()
        )
        digest.update(repr(sorted((record.segments or {}).items())).encode())
    return digest.hexdigest()[:32]


def _of_part(
    dataset: LabelledDataset, cache: Path, threads: int, advance: Callable[[int], object] | None
) -> ClassStatistics:
    delivered = _delivered(dataset)
    if delivered is not None:
        if advance is not None:
            advance(len(dataset))
        return delivered
    folder, classes = cache / statistics_key(dataset), dataset.space.num_classes
    # The last file is written last: where it is, all are whole.
    if (folder / "samples_with_class.json").is_file():
        if advance is not None:
            advance(len(dataset))
        return ClassStatistics.read(folder, classes)

    def count(index: int) -> torch.Tensor:
        return count_classes(dataset.read_labels(index), classes)

    counts: list[torch.Tensor] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="count") as pool:
        for one in pool.map(count, range(len(dataset))):
            counts.append(one)
            if advance is not None:
                advance(1)
    statistics = ClassStatistics(tuple(dataset.names), torch.stack(counts))
    statistics.write(folder)
    return statistics


def _delivered(dataset: LabelledDataset) -> ClassStatistics | None:
    """Return the counts of training ids that lie beside the images, if they are of all these images."""
    path = dataset.root / "sample_class_stats.json"
    if dataset.space != CITYSCAPES_19 or not path.is_file():
        return None
    try:
        return ClassStatistics.read(path, dataset.space.num_classes).for_images(dataset.names)
    except DataError:
        return None
