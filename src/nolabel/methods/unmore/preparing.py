"""From discovered objects to a detector's training file (unMORE specification, 8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nolabel.errors import ConfigError, DataError
from nolabel.methods.unmore.discovery import LABELS_FILE
from nolabel.methods.unmore.discovery_files import read_scored_objects
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file, write_label_file
from nolabel.methods.unmore.merging import PictureFolders, merge_labels
from nolabel.methods.unmore.selection import SelectionSettings, select_objects

__all__ = ["Preparation", "prepare_labels"]


@dataclass(frozen=True)
class Preparation:
    """What a training file holds.

    Attributes:
        path: the file.
        found, kept: discovered objects, and those that were sure.
        images: with at least one object, of all.
        added: objects of the other file.
    """

    path: Path
    found: int
    kept: int
    images: int
    added: int

    def __str__(self) -> str:
        more = f", {self.added} of VoteCut" if self.added else ""
        return f"{self.kept} of {self.found} objects kept{more}, in {self.images} images: {self.path}"


def prepare_labels(
    discovered: Path,
    out: Path,
    settings: SelectionSettings | None = None,
    *,
    labels: Path | None = None,
    least_score: float = 0.5,
    folders: PictureFolders | None = None,
    images: Path | None = None,
) -> Preparation:
    """Select discovered objects and, if asked, join them with VoteCut's.

    Args:
        discovered: folder or COCO file of discovery, or the original's list of objects.
        out: the training file.
        settings: what is sure enough.
        labels: VoteCut's labels; ids then say where an image is from.
        least_score: that an object of ``labels`` needs, 0..1.
        folders: of the pictures of both, where they share names.
        images: COCO file that lists the images of the original's list.

    Raises:
        DataError: a file is not what it should be, or no object is sure enough.
        ConfigError: ``images`` for a file that lists its own.
    """
    scenes = _read(Path(discovered), images)
    selected = [select_objects(image, settings) for image in scenes]
    found, kept = (sum(len(image.instances) for image in each) for each in (scenes, selected))
    all_of = selected
    if labels is not None:
        all_of = list(merge_labels(selected, read_label_file(labels), least_score, folders))
    total = sum(len(image.instances) for image in all_of)
    if not total:
        raise DataError(
            f"none of the {found} objects of {discovered} is sure enough",
            hint="lower the thresholds: existence=0.3 centre=0.6 boundary=0.6",
        )
    path = write_label_file(out, all_of)
    return Preparation(path, found, kept, sum(bool(len(image.instances)) for image in all_of), total - kept)


def _read(discovered: Path, images: Path | None) -> list[LabelledImage]:
    if images is not None and discovered.is_dir():
        raise ConfigError(f"{discovered} lists its own images", hint="leave --images out")
    if images is not None:
        return read_scored_objects(discovered, images)
    return read_label_file(discovered / LABELS_FILE if discovered.is_dir() else discovered)
