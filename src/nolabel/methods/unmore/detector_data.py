"""Images and label files as training data of the detector: sizes, mirroring, repetition, grouping by shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.files import examples, read_image
from nolabel.data.resizing import resize_image, resize_labels, to_bytes
from nolabel.errors import DataError
from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.methods.unmore.detector_settings import DetectorDataConfig
from nolabel.methods.unmore.image_roots import ImageRoots
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file
from nolabel.structures.rle import decode

__all__ = ["DetectorData", "open_detector_data", "shortest_edge_size"]

SINGLE_OBJECT_SUFFIX = ".JPEG"
"""ImageNet's own suffix, by which the original tells its images from those of scenes."""
SINGLE_OBJECT_ID = "imagenet"
"""What ids of ImageNet's images start with in merged label files."""


def open_detector_data(
    images: Path | Sequence[Path],
    labels: Path | Sequence[LabelledImage],
    config: DetectorDataConfig | None = None,
    *,
    batch_size: int = 1,
) -> DetectorData:
    """Open images with labels, and check in one pass that all images are there.

    Args:
        images: folder or folders that hold the pictures; see :class:`~nolabel.methods.unmore.image_roots.ImageRoots`.
        labels: a label file of any stage (COCO JSON), or its content.
        config: sizes, repetition, what is left out.
        batch_size: images of one process that share a step, for the grouping by shape.

    Raises:
        DataError: no image has an object, or pictures are missing.
    """
    config = config or DetectorDataConfig()
    found = read_label_file(labels) if isinstance(labels, Path) else list(labels)
    if config.least_score > 0:
        found = [image.chosen(image.instances.scores >= config.least_score) for image in found]
    kept = [image for image in found if len(image.instances)] if config.only_non_empty else found
    name = labels if isinstance(labels, Path) else "the label file"
    if not kept:
        raise DataError(
            f"no image of {name} has an object",
            hint="look at the stage that wrote it, or train on empty images with data.only_non_empty=false",
        )
    roots = ImageRoots([images] if isinstance(images, Path) else images)
    missing = [image.file_name for image in kept if roots.find(image.file_name) is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(kept)} images of {name} are not in {roots}: {examples(missing)}",
            hint="give every folder of pictures with an --images of its own",
        )
    return DetectorData(kept, roots, config, batch_size)


class DetectorData(Dataset[DetectorSample]):
    """Training images with their objects; chance comes from torch's global generator.

    Args:
        images: records of images whose files are there.
        roots: where the files are.
        config: sizes, mirroring, repetition.
        batch_size: images of one process that share a step.
    """

    def __init__(
        self, images: Sequence[LabelledImage], roots: ImageRoots, config: DetectorDataConfig, batch_size: int
    ) -> None:
        self.images, self.roots, self.config, self.batch_size = list(images), roots, config, batch_size
        single = [image.file_name.endswith(SINGLE_OBJECT_SUFFIX) for image in self.images]
        repeats = config.scene_repeats if any(single) else 1
        self.entries = [i for i, alone in enumerate(single) for _ in range(1 if alone else repeats)]
        landscape = torch.tensor([image.size[1] >= image.size[0] for image in self.images])
        self._landscape = landscape[torch.tensor(self.entries, dtype=torch.long)]

    def __len__(self) -> int:
        return len(self.entries)

    def epoch_order(self, generator: torch.Generator) -> list[int]:
        """Return the entries of one epoch in a random order in which every batch has landscape or portrait images only.

        What does not fill a batch of its shape is left out of the epoch; another draw leaves out others.
        """
        order = torch.randperm(len(self.entries), generator=generator)
        if not self.config.group_shapes or self.batch_size == 1:
            return order.tolist()
        batches = [
            batch
            for wide in (True, False)
            for batch in order[self._landscape[order] == wide].split(self.batch_size)
            if len(batch) == self.batch_size
        ]
        if not batches:  # fewer images than a batch holds
            return order.tolist()
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return torch.cat([batches[i] for i in shuffled]).tolist()

    def __getitem__(self, index: int) -> DetectorSample:
        config, record = self.config, self.images[self.entries[index]]
        path = self.roots.find(record.file_name)
        if path is None:
            raise DataError(f"{record.file_name} is not in {self.roots} any more")
        image = to_bytes(read_image(path).as_subclass(Tensor))
        size = (image.shape[-2], image.shape[-1])
        if size != tuple(record.size):
            raise DataError(
                f"{path} is {size[0]} x {size[1]}, its labels are for {record.size[0]} x {record.size[1]}",
                hint="were the labels made for other pictures, or for pictures before a rotation (EXIF)?",
            )
        chosen = int(torch.randint(len(config.short_sides), ()))
        mirrored = bool(torch.rand(()) < config.mirror)
        inner = shortest_edge_size(size, config.short_sides[chosen], config.long_side)
        sample = _labelled(record, resize_image(image, inner), inner, mirrored)
        return _without_empty(sample)


def shortest_edge_size(size: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Return the (height, width) of an image whose shorter side becomes ``short_side``, the other at most ``long_side``."""
    scale = short_side / min(size)
    height, width = (short_side if side == min(size) else scale * side for side in size)
    if max(height, width) > long_side:
        shrink = long_side / max(height, width)
        height, width = height * shrink, width * shrink
    return max(int(height + 0.5), 1), max(int(width + 0.5), 1)


def _labelled(record: LabelledImage, image: Tensor, size: tuple[int, int], mirrored: bool) -> DetectorSample:
    """Bring the labels of an image to its new size."""
    objects = record.instances
    masks = (
        torch.stack([resize_labels(decode(mask), size) for mask in objects.masks]) if len(objects) else None
    )
    if masks is None:
        masks = torch.zeros((0, *size), dtype=torch.bool)
    scale = torch.tensor([size[1] / record.size[1], size[0] / record.size[0]] * 2)
    limit = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    boxes = torch.minimum((objects.boxes * scale).clamp(min=0), limit)
    if mirrored:
        image, masks = image.flip(-1), masks.flip(-1)
        boxes = torch.stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], dim=1)
    trusted = torch.tensor(str(record.id).startswith(SINGLE_OBJECT_ID))
    return DetectorSample(image, masks, boxes, objects.scores.clamp(0, 1), trusted)


def _without_empty(sample: DetectorSample) -> DetectorSample:
    """Leave out objects that vanished at this size."""
    boxes = sample.boxes
    kept = sample.masks.flatten(1).any(dim=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return sample._replace(masks=sample.masks[kept], boxes=boxes[kept], scores=sample.scores[kept])
