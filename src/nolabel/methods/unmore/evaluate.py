"""Class-agnostic scores of a detector, or of the objects that any stage found (spec unmore 11).

COCO's average precision and recall with one category, at most 100 detections of an image, no threshold on scores; all
images of the label file count, also those for which there is no prediction.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nolabel.data.files import read_image, read_json
from nolabel.engine.predicting import PredictionOptions, equal_batches
from nolabel.engine.progress import Progress
from nolabel.errors import DataError, NolabelError
from nolabel.methods.unmore.detector_model import DetectorModel
from nolabel.methods.unmore.detector_predict import detect_batch
from nolabel.methods.unmore.detector_settings import DetectorValidationConfig
from nolabel.methods.unmore.evaluation_sets import LocatedSet, locate_set
from nolabel.methods.unmore.image_roots import ImageRoots
from nolabel.metrics.detection import SCORE_NAMES, detection_scores
from nolabel.structures import Instances
from nolabel.structures.files import write_bytes, write_json

__all__ = ["DetectionResult", "detect_set", "evaluate", "read_predictions", "validation_score"]

Json = Mapping[str, Any]


@dataclass(frozen=True)
class DetectionResult:
    """Scores of one predictor on one data set.

    Attributes:
        scores: task (``bbox``, ``segm``) -> the twelve COCO numbers by name, in percent, NaN where undefined.
        dataset: name of the data set.
        predictor, annotations: where predictions and truth came from.
        number_of_images: images of the truth.
        predicted_images: distinct images among the predictions.
        predicted_objects: predictions.
        failed: (image, what was wrong) of pictures that could not be read; they count as images without predictions.
        files: what was written.
    """

    scores: dict[str, dict[str, float]]
    dataset: str
    predictor: str
    annotations: str
    number_of_images: int
    predicted_images: int
    predicted_objects: int
    failed: list[tuple[str, str]]
    files: tuple[Path, ...] = ()

    def table(self) -> str:
        """Return the scores as text, percent."""
        head = f"{self.predictor} on {self.dataset}: {self.number_of_images} images, "
        head += f"{self.predicted_objects} predictions (percent, class-agnostic)"
        rows = ["".join([f"{'':6}", *(f"{name:>7}" for name in SCORE_NAMES)])]
        for task, scores in self.scores.items():
            kind = {"bbox": "boxes", "segm": "masks"}[task]
            shown = [
                "      -" if math.isnan(scores[name]) else f"{scores[name]:7.2f}" for name in SCORE_NAMES
            ]
            rows.append("".join([f"{kind:6}", *shown]))
        return "\n".join([head, *rows])

    def csv(self) -> str:
        """Return the scores as CSV, a line for each task."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["dataset", "predictor", "task", *SCORE_NAMES])
        for task, scores in self.scores.items():
            writer.writerow([self.dataset, self.predictor, task, *(scores[name] for name in SCORE_NAMES)])
        return text.getvalue()

    def record(self) -> dict[str, Any]:
        """Return the content of the original evaluator's ``ap_score.json``; NaN, which JSON lacks, is null."""
        scores = {
            task: {name: None if math.isnan(value) else value for name, value in values.items()}
            for task, values in self.scores.items()
        }
        return {
            **scores,
            "pred_path": self.predictor,
            "gt_path": self.annotations,
            "number_of_images": self.predicted_images,
            "number_of_annotations": self.predicted_objects,
        }

    def save(self, out: Path) -> DetectionResult:
        """Write ``ap_score.json``, ``scores.csv`` and ``scores.txt`` into a folder."""
        files = [
            write_json(out / "ap_score.json", self.record()),
            write_bytes(out / "scores.csv", self.csv().encode()),
            write_bytes(out / "scores.txt", (self.table() + "\n").encode()),
        ]
        return replace(self, files=(*self.files, *files))


def evaluate(
    predictor: DetectorModel | Path | Sequence[Json],
    data: Path,
    *,
    dataset: str | None = None,
    images: Sequence[Path] = (),
    masks: bool | None = None,
    limit: int | None = None,
    out: Path | None = None,
    options: PredictionOptions | None = None,
    reference_compat: bool = False,
    progress: bool = True,
) -> DetectionResult:
    """Score a detector, or predictions of any stage, on a data set with true objects.

    Args:
        predictor: a detector; a JSON file of predictions (a COCO result list, or a label file of any stage, whose images
            are matched by file name where their ids differ); or such a list.
        data: COCO label file, folder of a data set, or folder of data sets; see
            :func:`~nolabel.methods.unmore.evaluation_sets.locate_set`. Labels with classes are scored without them.
        dataset: name of the data set, of :data:`~nolabel.methods.unmore.evaluation_sets.EVALUATION_SETS`.
        images: folders of the pictures, where they lie elsewhere; only a detector needs them.
        masks: whether masks are scored as well as boxes; by default where the data set has true masks.
        limit: score so many images, evenly spread over the set.
        out: folder for ``ap_score.json``, tables, and the detector's ``predictions.json``.
        options: batches and sizes of the detector.
        reference_compat: keep the ids of true objects, so that one with the id 0 is never found.
        progress: show progress.

    Raises:
        DataError: data or predictions that cannot be read, or do not belong together.
    """
    detects = isinstance(predictor, DetectorModel)
    located = locate_set(data, dataset, images, pictures=detects)
    truth = read_json(located.annotations)
    _check_truth(truth, located.annotations)
    chosen = _spread(truth["images"], limit)
    failed: list[tuple[str, str]] = []
    files: tuple[Path, ...] = ()
    if isinstance(predictor, DetectorModel):
        found, failed = detect_set(predictor, chosen, located.images, options, progress=progress)
        if out is not None:
            files = (write_json(out / "predictions.json", found),)
        name = "detector" if predictor.source is None else str(predictor.source)
    else:
        name = str(predictor) if isinstance(predictor, Path) else "predictions"
        found = read_predictions(predictor, truth["images"])
    tasks = ["bbox", "segm"] if _scores_masks(masks, located, truth, found) else ["bbox"]
    ids = None if limit is None else [image["id"] for image in chosen]
    if ids is not None:
        kept = set(ids)
        found = [row for row in found if row["image_id"] in kept]
    scores = detection_scores(
        truth, found, tasks=tasks, image_ids=ids, class_agnostic=True, reference_compat=reference_compat
    )
    result = DetectionResult(
        scores,
        located.name,
        name,
        str(located.annotations),
        len(chosen),
        len({row["image_id"] for row in found}),
        len(found),
        failed,
        files,
    )
    return result if out is None else result.save(out)


def detect_set(
    model: DetectorModel,
    records: Sequence[Json],
    folders: Sequence[Path],
    options: PredictionOptions | None = None,
    *,
    progress: bool = True,
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Detect objects in the pictures of a label file.

    Args:
        model: the detector; its confidence threshold holds.
        records: COCO's ``images``.
        folders: where the pictures lie.
        options: batches and sizes.
        progress: show progress.

    Returns:
        A COCO result list, and (image, what was wrong) of those that could not be read.

    Raises:
        DataError: no picture could be read at all.
    """
    options, roots = options or PredictionOptions(), ImageRoots(folders)
    found: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []

    def read() -> Iterable[tuple[Json, Any]]:
        for record in records:
            name = file_name(record)
            path = roots.find(name)
            try:
                if path is None:
                    raise DataError(f"{name} is not in {roots}")
                yield record, read_image(path)
            except NolabelError as error:
                failed.append((name, error.message))
                bar.advance(1, f"{len(failed)} failed")

    with Progress("detect", len(records), unit="images", enabled=progress) as bar:
        for batch in equal_batches(read(), options.batch_size):
            for (record, _), objects in zip(
                batch, detect_batch(model, [image for _, image in batch], options), strict=True
            ):
                found += result_rows(objects, record["id"])
                bar.advance()
    if records and len(failed) == len(records):
        raise DataError(
            f"none of {len(records)} pictures could be read, the first: {failed[0][1]}",
            hint="give their folder with --images",
        )
    return found, failed


def file_name(record: Json) -> str:
    """Return the picture of a COCO image record; LVIS names it by its address alone."""
    name = record.get("file_name")
    return str(name) if name else "/".join(str(record["coco_url"]).split("/")[-2:])


def result_rows(objects: Instances, image_id: int | str) -> list[dict[str, Any]]:
    """Return the objects of an image as entries of a COCO result list."""
    rows = []
    for mask, box, score in zip(objects.masks, objects.boxes.tolist(), objects.scores.tolist(), strict=True):
        x, y, right, bottom = box
        segmentation = {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}
        rows.append(
            {
                "image_id": image_id,
                "category_id": 1,
                "bbox": [x, y, right - x, bottom - y],
                "score": score,
                "segmentation": segmentation,
            }
        )
    return rows


def read_predictions(predictions: Path | Sequence[Json], images: Sequence[Json]) -> list[dict[str, Any]]:
    """Read predictions, and bring the image ids of a label file to those of the truth.

    Args:
        predictions: a COCO result list, or its file, or a label file of any stage (``images`` and ``annotations``).
        images: the truth's images.

    Raises:
        DataError: the file is neither, or its images are others.
    """
    content = read_json(predictions) if isinstance(predictions, Path) else predictions
    if not isinstance(content, Mapping):
        return [dict(row) for row in content]
    if not isinstance(content.get("annotations"), list):
        raise DataError(f"{predictions} holds no predictions", hint="expected a list, or a COCO file")
    own = {image["id"]: image for image in content.get("images", ())}
    ids = {image["id"] for image in images}
    # A list of all images beside the predictions tells which is which; their ids may be of another numbering.
    by_name = {file_name(image): image["id"] for image in images}
    by_stem = {Path(name).stem: number for name, number in by_name.items()}
    if len(by_stem) < len(by_name):
        by_stem = {}
    renamed = {}
    for number, image in own.items():
        name = file_name(image)
        theirs = by_name.get(name, by_stem.get(Path(name).stem))
        if theirs is None and (number not in ids or by_stem):
            continue
        renamed[number] = number if theirs is None else theirs
    rows = [row for row in content["annotations"] if row["image_id"] in renamed or not own]
    if content["annotations"] and not rows:
        raise DataError(
            f"the images of {predictions} are none of the truth's, by name or id",
            hint="are both made from the same pictures?",
        )
    return [row | {"image_id": renamed.get(row["image_id"], row["image_id"])} for row in rows]


def validation_score(data: Path, images: Path | None, config: DetectorValidationConfig) -> Any:
    """Return a function that scores a detector during training: AP50, AP and AR100 of boxes and masks, in percent."""
    score = partial(
        evaluate,
        data=data,
        images=() if images is None else (images,),
        limit=config.images,
        options=PredictionOptions(config.batch_size),
        progress=False,
    )

    def scores(model: DetectorModel) -> dict[str, float]:
        result = score(model)
        named = {"bbox": "box", "segm": "mask"}
        return {
            f"{named[task]}_{name}": values[name]
            for task, values in result.scores.items()
            for name in ("AP50", "AP", "AR100")
        }

    return scores


def _check_truth(truth: Any, path: Path) -> None:
    if not isinstance(truth, Mapping) or not all(
        isinstance(truth.get(key), list) for key in ("images", "annotations")
    ):
        raise DataError(f"{path} is not a COCO file: it needs the lists images and annotations")
    if not truth["images"]:
        raise DataError(f"{path} holds no images")


def _spread(images: Sequence[Json], limit: int | None) -> list[Json]:
    """Take ``limit`` images, evenly spread."""
    if limit is None or limit >= len(images):
        return list(images)
    return [images[i * len(images) // limit] for i in range(limit)]


def _scores_masks(wanted: bool | None, located: LocatedSet, truth: Json, found: Sequence[Json]) -> bool:
    """Whether masks are scored: as told, else where truth and predictions have them."""
    if wanted is not None:
        return wanted
    if not located.masks:
        return False
    return all(row.get("segmentation") for rows in (truth["annotations"], found) for row in rows)
