"""Predict files, folders and videos into a folder of results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data import FolderImages, VideoFrames, find_layout, open_images
from nolabel.engine.predicting import PredictionOptions, equal_batches
from nolabel.engine.progress import Progress
from nolabel.engine.tracking import InstanceTracker
from nolabel.errors import ConfigError, DataError, NolabelError
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.predict import predict_images
from nolabel.methods.cups.prediction_folder import PREDICTIONS_FILE
from nolabel.structures import ImageSample
from nolabel.structures.coco import categories
from nolabel.structures.files import write_json
from nolabel.viz.panoptic_files import Format, PanopticFiles, check_formats

__all__ = ["IMAGE_FORMATS", "VIDEO_FORMATS", "PredictionSummary", "predict_to_folder"]

IMAGE_FORMATS: tuple[Format, ...] = ("labels", "coco", "overlay", "gallery")
VIDEO_FORMATS: tuple[Format, ...] = ("labels", "coco", "video", "gallery")


@dataclass(frozen=True)
class PredictionSummary:
    """What :func:`predict_to_folder` did.

    Attributes:
        out: the folder of the results.
        count: images that were predicted.
        written: format -> number of files.
        failed: (image, what was wrong) of images that could not be read or predicted.
    """

    out: Path
    count: int
    written: dict[str, int]
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Sequence:
    """Images that belong together: a video, or one folder. ``files`` are the pictures' names for COCO."""

    name: str
    names: list[str]
    files: list[str]
    images: Dataset[ImageSample]
    indices: range
    is_video: bool
    fps: float | None


def predict_to_folder(
    model: CupsModel,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    formats: Iterable[str] | None = None,
    options: PredictionOptions | None = None,
    track: bool | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything and write the results.

    Files of the same names are replaced, each in one step; nothing that exists is taken as done. An image that
    cannot be read is noted and the rest goes on. ``predictions.json`` says what was done with which settings.

    Args:
        model: network and the meaning of its clusters.
        sources: images, folders of images, videos.
        out: folder of the results.
        formats: names of :data:`nolabel.viz.panoptic_files.FORMATS`; by default ``labels, coco, gallery`` and
            ``overlay`` for images, ``video`` for videos.
        options: batches and sizes.
        track: keep instance ids over the frames of each source (of each folder in it); by default for videos.
        fps: speed of written videos; that of the source by default, 10 for images.
        progress: show progress.

    Raises:
        ConfigError: an unknown format or impossible setting.
        DataError: a source that does not exist, or no image could be read at all.
    """
    options, out = options or PredictionOptions(), Path(out)
    sequences = _open(sources)
    chosen = _formats(formats, sequences)
    check_formats([name for part in chosen for name in part], model.output_space)
    total = sum(len(sequence.names) for sequence in sequences)
    failed: list[tuple[str, str]] = []
    done: list[dict[str, object]] = []
    files = PanopticFiles(
        out,
        model.output_space,
        tuple({name for part in chosen for name in part}),
        total=total,
        title="CUPS: panoptic predictions",
        fps=fps or next((s.fps for s in sequences if s.fps), 10.0),
    )
    with Progress("predict", total, unit="images", enabled=progress) as bar, files:
        for sequence, kinds in zip(sequences, chosen, strict=True):
            follow = sequence.is_video if track is None else track
            tracker = InstanceTracker() if follow else None
            for batch in equal_batches(_read(sequence, failed, bar), options.batch_size):
                try:
                    results = predict_images(model, [image for _, image in batch], options)
                except DataError as error:
                    failed += [(sequence.names[index], error.message) for index, _ in batch]
                    bar.advance(len(batch), f"{len(failed)} failed")
                    continue
                for (index, image), prediction in zip(batch, results, strict=True):
                    name, file_name = sequence.names[index], sequence.files[index]
                    result = prediction if tracker is None else tracker.update(prediction)
                    files.add(name, result, image, file_name=file_name, sequence=sequence.name, formats=kinds)
                    done.append({"name": name, "file": file_name, "size": list(result.size)})
                    bar.advance()
        if not done:
            raise DataError(
                f"none of the {total} images could be predicted; the first: {failed[0][1]}",
                hint="`nolabel doctor` looks at a whole folder",
            )
    _write_card(out, model, files.formats, options, done, failed)
    return PredictionSummary(out, len(done), dict(files.written), failed)


def _read(sequence: _Sequence, failed: list[tuple[str, str]], bar: Progress) -> Iterator[tuple[int, Tensor]]:
    """Yield (position, image); an unreadable image is noted, an unreadable video frame ends its video."""
    for position, index in enumerate(sequence.indices):
        try:
            yield position, sequence.images[index]["image"].as_subclass(Tensor)
        except NolabelError as error:
            failed.append((sequence.names[position], error.message))
            rest = len(sequence.names) - position if sequence.is_video else 1
            bar.advance(rest, f"{len(failed)} failed")
            if sequence.is_video:
                return


def _open(sources: Sequence[str | Path]) -> list[_Sequence]:
    """Open every source before any work is done, and give every image a name of its own."""
    if not sources:
        raise ConfigError("nothing to predict was given", hint="name images, folders or videos")
    sequences: list[_Sequence] = []
    for is_image, group in groupby(sources, lambda source: _is_image(Path(source))):
        paths = [Path(source) for source in group]
        if is_image:  # files that a shell listed are one folder's images
            root = Path(os.path.commonpath([path.resolve().parent for path in paths]))
            sequences += _folders(root, FolderImages([path.resolve() for path in paths]))
            continue
        for path in paths:
            images = open_images(path)
            if isinstance(images, VideoFrames):
                names = images.names
                files = [f"{name}.png" for name in names]
                whole = range(len(names))
                sequences.append(_Sequence(path.stem, names, files, images, whole, True, images.fps))
            else:
                sequences += _folders(path, images)
    return _distinct(sequences)


def _is_image(path: Path) -> bool:
    return path.is_file() and find_layout(path) == "images"


def _folders(root: Path, images: FolderImages) -> list[_Sequence]:
    """Split the images below a folder where the folder changes: each folder is a sequence."""
    parents = [path.parent for path in images.paths]
    starts = [i for i, parent in enumerate(parents) if i == 0 or parent != parents[i - 1]]
    sequences = []
    for start, end in zip(starts, [*starts[1:], len(parents)], strict=True):
        name = "_".join((root.resolve().name, *parents[start].relative_to(root).parts))
        files = [path.relative_to(root).as_posix() for path in images.paths[start:end]]
        sequences.append(
            _Sequence(name, images.names[start:end], files, images, range(start, end), False, None)
        )
    return sequences


def _distinct(sequences: list[_Sequence]) -> list[_Sequence]:
    """Where sources share names, put the sequence's name, and if need be its position, in front."""

    def shared(candidates: list[_Sequence]) -> bool:
        names = [name for sequence in candidates for name in sequence.names]
        return len(set(names)) < len(names) or len({s.name for s in candidates}) < len(candidates)

    def prefixed(label: str) -> list[_Sequence]:
        prefixes = [label.format(name=s.name, position=i) for i, s in enumerate(sequences)]
        return [
            replace(
                sequence,
                name=prefix,
                names=[f"{prefix}_{name}" for name in sequence.names],
                files=[f"{prefix}/{file}" for file in sequence.files],
            )
            for prefix, sequence in zip(prefixes, sequences, strict=True)
        ]

    if not shared(sequences):
        return sequences
    named = prefixed("{name}")
    return prefixed("{position}_{name}") if shared(named) else named


def _formats(formats: Iterable[str] | None, sequences: Sequence[_Sequence]) -> list[tuple[Format, ...]]:
    if formats is not None:
        chosen: tuple[Format, ...] = tuple(formats)  # type: ignore[arg-type]  # checked by check_formats
        return [chosen] * len(sequences)
    return [VIDEO_FORMATS if sequence.is_video else IMAGE_FORMATS for sequence in sequences]


def _write_card(
    out: Path,
    model: CupsModel,
    formats: Sequence[str],
    options: PredictionOptions,
    done: list[dict[str, object]],
    failed: list[tuple[str, str]],
) -> None:
    card = {
        "model": None if model.source is None else model.source.name,
        "space": model.output_space.name,
        "categories": categories(model.output_space),
        "confidence_threshold": model.network.config.confidence_threshold,
        "output_size": options.output_size,
        "max_side": options.max_side,
        "saved": list(formats),
        "images": done,
        "failed": [{"name": name, "error": error} for name, error in failed],
    }
    write_json(out / PREDICTIONS_FILE, card)
