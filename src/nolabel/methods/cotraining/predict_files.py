"""Label images, folders and videos to files."""

from __future__ import annotations

from pathlib import Path

from nolabel.data import open_images
from nolabel.engine.progress import Progress
from nolabel.methods.cotraining.model_file import SegmentorModel
from nolabel.methods.cotraining.scoring import label_image
from nolabel.structures.files import write_png
from nolabel.viz import semantic_overlay

__all__ = ["predict_to_folder"]


def predict_to_folder(model: SegmentorModel, source: Path, out: Path, *, progress: bool = True) -> int:
    """Write ``labels/NAME.png`` (255 for void) and ``overlays/NAME.png`` of every image; return how many.

    Raises:
        DataError: an image cannot be read.
    """
    images = open_images(source)
    with Progress("labelling", len(images), unit="images", enabled=progress) as bar:
        for index in range(len(images)):
            sample = images[index]
            labels = label_image(model, sample["image"]).numpy()
            write_png(out / "labels" / f"{sample['name']}.png", labels)
            picture = semantic_overlay(sample["image"], labels, model.space)
            write_png(out / "overlays" / f"{sample['name']}.png", picture)
            bar.advance()
    return len(images)
