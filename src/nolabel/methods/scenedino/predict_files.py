"""Predict scenes of files, folders and videos into a folder; the same command again does only what is missing."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.data.image_sequences import ImageSequence, open_sequences
from nolabel.data.predicted_labels import PREDICTIONS_FILE
from nolabel.engine.labelling import ItemResult, LabellingSummary, label_items
from nolabel.engine.predict_files import PredictionSummary, speed_of
from nolabel.errors import ConfigError, DataError
from nolabel.methods.scenedino.camera_of_image import camera_of_image, find_calibration
from nolabel.methods.scenedino.predict import ScenePredictor
from nolabel.methods.scenedino.prediction_files import SCENE_FORMATS, encode_prediction
from nolabel.structures.files import atomic_path, write_json
from nolabel.viz import PrincipalColours, Report, VideoFile
from nolabel.viz.result_files import known_formats

__all__ = ["RUN_FORMATS", "predict_to_folder"]

RUN_FORMATS: dict[str, str] = {
    **SCENE_FORMATS,
    "video": "<sequence>.mp4: the overlays as a video",
    "gallery": "index.html: one page to look through, complete in itself",
}
IMAGE_FORMATS = ("depth", "labels", "features", "overlay", "sheet", "views", "voxels", "page", "gallery")
VIDEO_FORMATS = ("depth", "labels", "features", "overlay", "video", "gallery")
VOLUME_FORMATS = frozenset(("voxels", "views", "sscbench"))
COLOURED = frozenset(("features", "sheet", "page"))  # formats that show colours of features
FITTED_IMAGES = 4  # evenly spread, that those colours are made for
COLOURS_FILE = "feature_colours.npz"
SHOWN = 60  # pictures of the gallery
SHOWN_WIDTH = 640


@dataclass(frozen=True, eq=False)
class ScenePredictionTask:
    """One item is one image.

    Attributes:
        predictor: the network.
        sequences: the images.
        formats: what is written of each image of each sequence.
        intrinsics: of all images; by default the calibration.yaml beside each, else a guess.
        basis: colours of features.
        fingerprint: of everything that the files depend on.
    """

    predictor: ScenePredictor
    sequences: tuple[ImageSequence, ...]
    formats: tuple[tuple[str, ...], ...]
    intrinsics: Any
    fingerprint: str
    basis: PrincipalColours | None = None
    places: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        places = [(s, i) for s, part in enumerate(self.sequences) for i in range(len(part.names))]
        object.__setattr__(self, "places", places)

    def items(self) -> Sequence[str]:
        """Names of the images."""
        return [self.sequences[sequence].names[index] for sequence, index in self.places]

    def setup(self) -> None:
        """Nothing: the network is there."""

    def process(self, state: None, index: int) -> ItemResult:
        """Predict one image and encode what is wanted of it."""
        number, position = self.places[index]
        sequence = self.sequences[number]
        image, matrix = self.image(index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was guessed is in the notes of every result
            result = self.predictor.predict(image, matrix, basis=self.basis)
        files = encode_prediction(result, sequence.names[position], self.formats[number])
        facts = {"file": sequence.files[position], "size": list(result.size), "notes": list(result.notes)}
        return ItemResult(files, facts)

    def image(self, index: int) -> tuple[Tensor, Any]:
        """The image (3, H, W) and what is known of its camera."""
        number, position = self.places[index]
        sequence = self.sequences[number]
        image = sequence.images[sequence.indices[position]]["image"].as_subclass(Tensor)
        if self.intrinsics is not None:
            return image, self.intrinsics
        return image, find_calibration(_path_of(sequence, position))

    def fitted(self) -> PrincipalColours | None:
        """Colours of features that suit images from all over the run; None where none of them can be read."""
        count = len(self.places)
        chosen = np.unique(np.linspace(0, count - 1, min(FITTED_IMAGES, count)).round().astype(int))

        def views() -> Iterator[tuple[Tensor, Tensor]]:
            for index in chosen.tolist():
                try:
                    image, known = self.image(index)
                    matrix, _ = camera_of_image(known, (image.shape[-2], image.shape[-1]))
                except DataError:  # it is reported when its turn comes
                    continue
                yield image, matrix

        return self.predictor.fit_colours(views())


def predict_to_folder(
    predictor: ScenePredictor,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    intrinsics: Any = None,
    formats: Iterable[str] | None = None,
    fps: float | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything and write the results.

    Every image's files appear whole, and together they are noted as done; the same call again does only what is missing. An
    image that cannot be read is noted and the rest goes on. ``predictions.json`` says what was done with which settings.

    Args:
        predictor: the network.
        sources: images, folders of images, videos, lists of images.
        out: folder of the results.
        intrinsics: of all images, see :func:`~nolabel.methods.scenedino.camera_of_image.camera_of_image`; by default the
            ``calibration.yaml`` beside each image or one folder above, else a guess.
        formats: names of :data:`RUN_FORMATS`; by default what suits images and videos.
        fps: speed of written videos.
        overwrite: replace results in ``out`` that were made otherwise.
        progress: show progress.

    Raises:
        ConfigError: an unknown format, one that this network or these settings cannot give, or a folder of other results.
        DataError: a source that does not exist, or no image could be predicted at all.
    """
    out = Path(out)
    sequences = tuple(open_sequences(sources))
    chosen = tuple(_formats(predictor, sequence, formats) for sequence in sequences)
    kinds = {kind for part in chosen for kind in part}
    digest = _fingerprint(predictor, sequences, chosen, intrinsics)
    each = tuple(_of_images(part) for part in chosen)
    task = ScenePredictionTask(predictor, sequences, each, intrinsics, digest)
    if COLOURED & kinds and predictor.settings.features != "none" and len(task.places) > 1:
        basis = _colours(out / COLOURS_FILE, task)
        task = ScenePredictionTask(predictor, sequences, each, intrinsics, digest, basis)
    summary = label_items(task, out, overwrite=overwrite, progress=progress, what="predict")
    if not summary.records:
        name, message = summary.failed[0]
        raise DataError(
            f"none of the {len(task.places)} images could be predicted; {name}: {message}",
            hint="`nolabel doctor` looks at a whole folder",
        )
    written = _count(summary, task)
    written |= _finish(out, task, chosen, summary, fps)
    return PredictionSummary(out, len(summary.records), dict(written), summary.failed)


def _formats(
    predictor: ScenePredictor, sequence: ImageSequence, wanted: Iterable[str] | None
) -> tuple[str, ...]:
    """What is written of a sequence."""
    impossible: dict[str, str] = {}
    if predictor.network.semantic_head is None:
        impossible["labels"] = "no semantic head was trained"
    if predictor.settings.voxels is None:
        impossible |= dict.fromkeys(VOLUME_FORMATS, "voxels are switched off")
    elif not predictor.named:
        impossible["sscbench"] = "this network's clusters have no names"
    if predictor.settings.features == "none":
        impossible |= dict.fromkeys(("features", "feature_array"), "features are switched off")
    if wanted is None:
        usual = VIDEO_FORMATS if sequence.is_video else IMAGE_FORMATS
        return tuple(kind for kind in usual if kind not in impossible)
    chosen = known_formats(wanted, RUN_FORMATS)
    for kind in chosen:
        if kind in impossible:
            raise ConfigError(f"there will be no {kind}: {impossible[kind]}", hint="leave it out")
    return chosen


def _of_images(formats: tuple[str, ...]) -> tuple[str, ...]:
    """What is written image by image; videos and the gallery are made of overlays."""
    wanted = set(formats) & set(SCENE_FORMATS)
    if {"video", "gallery"} & set(formats):
        wanted.add("overlay")
    return tuple(kind for kind in SCENE_FORMATS if kind in wanted)


def _fingerprint(
    predictor: ScenePredictor,
    sequences: Sequence[ImageSequence],
    formats: Sequence[Sequence[str]],
    intrinsics: Any,
) -> str:
    """A hash of network, settings, images (their paths and sizes) and camera."""
    digest = hashlib.sha256(predictor.settings.fingerprint().encode())
    if predictor.source is not None:
        with predictor.source.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    else:
        for name, tensor in predictor.network.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    for sequence, part in zip(sequences, formats, strict=True):
        for position, name in enumerate(sequence.names):
            path = _path_of(sequence, position)
            digest.update(f"{name} {path.resolve()} {path.stat().st_size} {part}\n".encode())
            if intrinsics is None and (calibration := find_calibration(path)) is not None:
                digest.update(calibration.read_bytes())
    if isinstance(intrinsics, str | Path):
        digest.update(Path(intrinsics).read_bytes() if Path(intrinsics).is_file() else b"")
    given = intrinsics.tolist() if isinstance(intrinsics, Tensor | np.ndarray) else intrinsics
    digest.update(repr(given).encode())
    return digest.hexdigest()


def _path_of(sequence: ImageSequence, position: int) -> Path:
    """The file of an image, or of the video that it is in."""
    images: Any = sequence.images
    return images.path if sequence.is_video else images.paths[sequence.indices[position]]


def _colours(path: Path, task: ScenePredictionTask) -> PrincipalColours | None:
    """Colours of features for the whole run, kept for when it is gone on with."""
    if path.is_file():
        with np.load(path) as kept:
            if str(kept["fingerprint"]) == task.fingerprint:
                return PrincipalColours(*(kept[name] for name in PrincipalColours._fields))
    basis = task.fitted()
    if basis is None:
        return None
    with atomic_path(path) as written, written.open("wb") as file:
        np.savez(file, fingerprint=task.fingerprint, **basis._asdict())
    return basis


def _count(summary: LabellingSummary, task: ScenePredictionTask) -> Counter[str]:
    """Images by format; every image has all files of its formats."""
    formats = {
        name: task.formats[number] for name, (number, _) in zip(task.items(), task.places, strict=True)
    }
    return Counter(kind for name in summary.records for kind in formats[name])


def _finish(
    out: Path,
    task: ScenePredictionTask,
    chosen: Sequence[Sequence[str]],
    summary: LabellingSummary,
    fps: float | None,
) -> Counter[str]:
    """Write what covers several images: videos, the gallery, predictions.json."""
    written: Counter[str] = Counter()
    done = [name for name in task.items() if name in summary.records]
    speed = speed_of(task.sequences, fps)
    for sequence, part in zip(task.sequences, chosen, strict=True):
        if "video" in part and (frames := [name for name in sequence.names if name in summary.records]):
            with VideoFile(out / f"{sequence.name}.mp4", speed) as video:
                for name in frames:
                    video.add(np.asarray(Image.open(out / "overlay" / f"{name}.jpg")))
            written["video"] += 1
    gallery = [
        name
        for sequence, part in zip(task.sequences, chosen, strict=True)
        if "gallery" in part
        for name in sequence.names
    ]
    if gallery := [name for name in gallery if name in summary.records]:
        _gallery(out, gallery, len(done)).save(out / "index.html")
        written["gallery"] += 1
    source = task.predictor.source
    card = {
        "model": None if source is None else source.name,
        "space": task.predictor.space.name,
        "voxel_space": task.predictor.voxel_space.name,
        "settings": task.predictor.settings.model_dump(mode="json"),
        "images": [{"name": name, **summary.records[name]} for name in done],
        "failed": [{"name": name, "error": error} for name, error in summary.failed],
    }
    write_json(out / PREDICTIONS_FILE, card)
    return written


def _gallery(out: Path, names: list[str], total: int) -> Report:
    chosen = np.unique(np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int))
    shown = [names[index] for index in chosen.tolist()]
    pictures = []
    for name in shown:
        picture = Image.open(out / "overlay" / f"{name}.jpg").convert("RGB")
        picture.thumbnail((SHOWN_WIDTH, SHOWN_WIDTH))
        pictures.append(np.asarray(picture))
    report = Report("SceneDINO: scenes", f"{total} images; {len(shown)} are shown.")
    return report.gallery(pictures, shown, cell_width=400)
