"""Discovery over a folder of photographs: hours of independent images, resumable, in shards, joined by themselves.

::

    OUT/objects/NAME.json                     one image: boxes of reasoning, objects with four scores
    OUT/labels.json                           all objects, COCO
    OUT/discovery_results.json                boxes by image id, as the original has them
    OUT/object_discovery_with_scores.json     objects, as the original has them
    OUT/overlays/NAME.png                     on request: objects over the image
    OUT/process/NAME.webp                     on request: how boxes became objects, an animation

The last files are made anew from all finished images, of all shards, at the end of every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from nolabel.data.files import list_images, read_image, read_json
from nolabel.engine.devices import pick_device
from nolabel.engine.executors import worker_device
from nolabel.engine.labelling import Executor, ItemResult, LabellingSummary, label_items, read_records
from nolabel.errors import ConfigError, DataError
from nolabel.methods.unmore.discover import discover_images, score_images
from nolabel.methods.unmore.discovery_files import (
    BOXES_FILE,
    SCORED_FILE,
    read_boxes,
    write_boxes,
    write_scored_objects,
)
from nolabel.methods.unmore.label_files import LabelledImage, write_label_file
from nolabel.methods.unmore.network_files import find_network, load_existence, load_objectness
from nolabel.methods.unmore.reasoning.animation import write_process
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.reasoning.steps import Recorder
from nolabel.methods.unmore.scoring import Discovery
from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessNetwork
from nolabel.structures import Instances
from nolabel.structures.files import write_png
from nolabel.weights import file_hash

__all__ = ["LABELS_FILE", "DiscoverySummary", "NetworkFiles", "Networks", "discover_folder", "photographs"]

LABELS_FILE = "labels.json"
_ANY_SPEED = ("batch_size",)  # settings that decide on time and memory only


class Networks(Protocol):
    """Where the two networks come from; must be picklable."""

    @property
    def fingerprint(self) -> str:
        """A hash of both."""
        ...

    def load(self, device: str) -> tuple[ObjectnessNetwork, ExistenceNetwork]:
        """Load both, in evaluation mode."""
        ...


@dataclass(frozen=True)
class NetworkFiles:
    """Networks in files; see :mod:`nolabel.methods.unmore.network_files`.

    Attributes:
        objectness, existence: the files.
        fingerprint: a hash of their content.
    """

    objectness: Path
    existence: Path
    fingerprint: str

    @classmethod
    def find(cls, objectness: str | Path, existence: str | Path) -> NetworkFiles:
        """Find both behind run folders, files or registered names."""
        files = find_network(objectness), find_network(existence)
        return cls(*files, "+".join(file_hash(file) for file in files))

    def load(self, device: str) -> tuple[ObjectnessNetwork, ExistenceNetwork]:
        """Load both."""
        return load_objectness(self.objectness, device=device), load_existence(self.existence, device=device)


@dataclass(frozen=True)
class DiscoverySummary:
    """What a run gave.

    Attributes:
        out: the folder.
        labels: the COCO file of all finished images.
        labelling: what this run did.
        images: finished images, of all shards.
        objects: found in them.
    """

    out: Path
    labels: Path
    labelling: LabellingSummary
    images: int
    objects: int

    def __str__(self) -> str:
        per_image = f" ({self.objects / self.images:.1f} each)" if self.images else ""
        return f"{self.objects} objects in {self.images} images{per_image}: {self.labels}"


@dataclass(frozen=True)
class Photographs:
    """Images of a folder: paths relative to it, in order, and an id for each."""

    root: Path
    names: tuple[str, ...]
    ids: tuple[int | str, ...]


def photographs(root: Path, listing: Path | None = None) -> Photographs:
    """List the images below a folder.

    Args:
        root: the folder.
        listing: a COCO file that gives ids by file name; images that it does not list are left out. Without one the id is
            the number that is the file's name (``000000000139.jpg``: 139) where all names are different numbers, else
            1, 2, ...

    Raises:
        DataError: there are no images.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", hint="check the path")
    names = [path.relative_to(root).as_posix() for path in list_images(root)]
    if listing is not None:
        content = read_json(listing)
        records = content.get("images", ()) if isinstance(content, dict) else ()
        known = {Path(record["file_name"]).name: record["id"] for record in records}
        names = [name for name in names if Path(name).name in known]
        ids: list[int | str] = [known[Path(name).name] for name in names]
    else:
        stems = [Path(name).stem for name in names]
        numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdecimal()]
        ids = list(numbers if len(set(numbers)) == len(stems) else range(1, len(names) + 1))
    if not names:
        raise DataError(
            f"there are no images in {root}" + (f" that {listing} lists" if listing else ""),
            hint="expected .jpg, .png, .webp, ... in it or its folders",
        )
    return Photographs(root, tuple(names), tuple(ids))


@dataclass
class _State:
    """What a worker keeps: the networks, and the results of the images that were looked at together."""

    objectness: ObjectnessNetwork
    existence: ExistenceNetwork
    first: int | None = None
    results: Mapping[int, Discovery] | None = None


@dataclass(frozen=True)
class DiscoveryTask:
    """Discovery of each image as an item of work.

    Images are looked at in fixed groups of ``together`` so that the networks' batches are full; which image was asked for
    first does not change a group.
    """

    photos: Photographs
    networks: Networks
    settings: ReasoningSettings
    device: str
    together: int
    boxes: Mapping[str, Tensor] | None

    @property
    def fingerprint(self) -> str:
        """What the results depend on."""
        settings = {k: v for k, v in self.settings.model_dump(mode="json").items() if k not in _ANY_SPEED}
        given = None if self.boxes is None else {key: own.tolist() for key, own in self.boxes.items()}
        parts = [self.networks.fingerprint, settings, self.photos.names, self.photos.ids, given]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        """The images."""
        return self.photos.names

    def setup(self) -> _State:
        """Load the networks."""
        return _State(*self.networks.load(worker_device(self.device)))

    def process(self, state: _State, index: int) -> ItemResult:
        """Find the objects of one image, and those of its group if they are not known yet."""
        first = index - index % self.together
        if state.results is None or state.first != first:
            group = range(first, min(first + self.together, len(self.photos.names)))
            state.results, state.first = self._look(state, group), first
        if index not in state.results:
            self._read(index)  # says what is wrong with it
        name, key = self.photos.names[index], self.photos.ids[index]
        found = state.results[index]
        labelled = to_labelled(name, key, found)
        content = {**_record(labelled), "boxes": found.boxes.tolist()}
        return ItemResult(
            {f"objects/{name}.json": json.dumps(content).encode()}, {"objects": len(found.instances)}
        )

    def _look(self, state: _State, group: Sequence[int]) -> dict[int, Discovery]:
        images = {}
        for index in group:
            try:
                images[index] = self._read(index)
            except DataError:
                if len(group) == 1:
                    raise
        looked = list(images.values())
        if self.boxes is None:
            found = discover_images(looked, state.objectness, state.existence, self.settings)
        else:
            given = [self.boxes.get(str(self.photos.ids[index]), torch.zeros(0, 4)) for index in images]
            found = score_images(looked, given, state.objectness, state.existence, self.settings)
        return dict(zip(images, found, strict=True))

    def _read(self, index: int) -> Tensor:
        return read_image(self.photos.root / self.photos.names[index]).as_subclass(Tensor)


def discover_folder(
    photos: Photographs,
    networks: Networks,
    out: Path,
    settings: ReasoningSettings | None = None,
    *,
    boxes: Path | None = None,
    executor: Executor = "inline",
    workers: int = 1,
    threads: int = 1,
    shard: str | None = None,
    together: int = 1,
    device: str | None = None,
    overlays: bool = False,
    animations: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> DiscoverySummary:
    """Find the objects of all photographs of a folder, or what is left of them.

    Args:
        photos: what :func:`photographs` listed.
        networks: both.
        out: where the results go.
        settings: of reasoning.
        boxes: a file of boxes by image id, which are scored in place of reasoning.
        executor, workers, threads, shard, overwrite, progress: as in :func:`~nolabel.engine.labelling.label_items`.
        together: images looked at at once, which fills the batches of a GPU.
        device: where the networks run; several processes that share ``cuda`` take its GPUs in turn.
        overlays: draw the objects over every image.
        animations: show of so many images, the first ones, how boxes became objects (``OUT/process/NAME.webp``).

    Raises:
        ConfigError: several images together in several processes; results of other settings in ``out``.
        DataError: the file of boxes is not one, or names none of the images.
    """
    if together > 1 and executor != "inline":
        raise ConfigError(
            "images are looked at together within one process only",
            hint="leave --together out, or run one command for each GPU: --shard 1/4 --device cuda:0, ...",
        )
    out = Path(out)
    given = None if boxes is None else read_boxes(boxes)
    if given and not given.keys() & {str(key) for key in photos.ids}:
        raise DataError(
            f"{boxes} has no boxes for any image of {photos.root}",
            hint="give the COCO file that lists the images' ids with --images",
        )
    task = DiscoveryTask(
        photos, networks, settings or ReasoningSettings(), pick_device(device), together, given
    )
    summary = label_items(
        task,
        out,
        executor=executor,
        workers=workers,
        threads=threads,
        shard=shard,
        overwrite=overwrite,
        progress=progress,
        what="looking for objects" if boxes is None else "scoring objects",
    )
    finished = [name for name in photos.names if name in read_records(out)]
    if overlays:
        for name in finished:
            path = out / "overlays" / f"{name}.png"
            if not path.exists():
                write_png(path, _read_item(out, name)[0].instances.overlay(read_image(photos.root / name)))
    if animations:
        _animate(task, out, finished[:animations])
    return _join(out, finished, summary)


def to_labelled(name: str, key: int | str, found: Discovery) -> LabelledImage:
    """What was found as a row of label files."""
    size = found.instances.size
    assert size is not None
    return LabelledImage(name, size, key, found.instances, found.columns())


def _animate(task: DiscoveryTask, out: Path, names: Sequence[str]) -> None:
    """Look at images once more, with a recorder."""
    missing = [name for name in names if not (out / "process" / f"{name}.webp").exists()]
    if not missing:
        return
    objectness, existence = task.networks.load(task.device)
    for name in missing:
        image, recorder = read_image(task.photos.root / name).as_subclass(Tensor), Recorder()
        (found,) = discover_images([image], objectness, existence, task.settings, watch=recorder)
        write_process(out / "process" / f"{name}.webp", image, recorder.steps(), found.instances)


def _join(out: Path, names: Sequence[str], summary: LabellingSummary) -> DiscoverySummary:
    """Write the files of all images; memory does not grow with their number."""
    objects = 0

    def labelled() -> Iterator[LabelledImage]:
        nonlocal objects
        for name in names:
            image, _ = _read_item(out, name)
            objects += len(image.instances)
            yield image

    def boxes() -> Iterator[tuple[int | str, list[list[float]]]]:
        for name in names:
            image, own = _read_item(out, name)
            yield image.id, own

    labels = write_label_file(out / LABELS_FILE, labelled())
    write_boxes(out / BOXES_FILE, boxes())
    write_scored_objects(out / SCORED_FILE, (_read_item(out, name)[0] for name in names))
    return DiscoverySummary(out, labels, summary, len(names), objects)


def _record(image: LabelledImage) -> dict[str, Any]:
    objects = image.instances
    return {
        "id": image.id,
        "file_name": image.file_name,
        "size": list(image.size),
        "masks": [mask["counts"].decode("ascii") for mask in objects.masks],
        "corners": objects.boxes.tolist(),
        "scores": objects.scores.tolist(),
        "extra": image.extra,
    }


def _read_item(out: Path, name: str) -> tuple[LabelledImage, list[list[float]]]:
    """One finished image, and the boxes that reasoning ended with."""
    content = read_json(out / "objects" / f"{name}.json")
    size = (content["size"][0], content["size"][1])
    masks = [{"size": list(size), "counts": counts.encode("ascii")} for counts in content["masks"]]
    corners = torch.tensor(content["corners"], dtype=torch.float32).reshape(-1, 4)
    objects = Instances(masks, corners, torch.tensor(content["scores"]), size=size)
    return LabelledImage(content["file_name"], size, content["id"], objects, content["extra"]), content[
        "boxes"
    ]
