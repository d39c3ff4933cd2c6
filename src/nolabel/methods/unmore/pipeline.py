"""Everything from unlabelled photographs to an object detector: one folder, one resumable function.

::

    RUN/votecut/          masks of the photographs, from self-supervised features
    RUN/objectness/       the network that learned boundary and centre field from them
    RUN/existence/        the network that learned to tell objects from background
    RUN/discovered/       objects of the scenes, found by reasoning with the two
    RUN/training.json     the sure ones, to learn from
    RUN/detector/         the network to use
    RUN/validation/       the same stages on labelled images, where there are any, and their scores
    RUN/report.html       what came of it

Source: unMORE specification, section 1.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from nolabel.engine.devices import pick_device
from nolabel.engine.labelling import Executor, LabellingSummary
from nolabel.engine.stage_folder import stage_folder
from nolabel.methods.unmore.detector_data import open_detector_data
from nolabel.methods.unmore.detector_model import MODEL_FILE, DetectorModel, load_detector
from nolabel.methods.unmore.detector_training import train_detector
from nolabel.methods.unmore.discovery import NetworkFiles, discover_folder, photographs
from nolabel.methods.unmore.evaluate import evaluate
from nolabel.methods.unmore.evaluation_sets import locate_set
from nolabel.methods.unmore.existence_training import train_existence
from nolabel.methods.unmore.merging import PictureFolders
from nolabel.methods.unmore.object_source import open_objects
from nolabel.methods.unmore.objectness_training import train_objectness
from nolabel.methods.unmore.pipeline_report import write_report
from nolabel.methods.unmore.pipeline_settings import PipelineConfig
from nolabel.methods.unmore.preparing import prepare_labels
from nolabel.methods.unmore.pseudo_masks import make_pseudo_masks

__all__ = ["PipelineResult", "StageScores", "run_pipeline"]

StageScores = dict[str, dict[str, dict[str, float]]]
"""Stage -> ``bbox`` or ``segm`` -> COCO's numbers in percent."""


@dataclass(frozen=True)
class PipelineResult:
    """What a run left.

    Attributes:
        out: the run's folder.
        model: file of the detector.
        report: the page with counts, pictures and scores.
        scores: of every stage, where labelled images were given.
        failed: photographs and scenes that could not be read, with the reason.
    """

    out: Path
    model: Path
    report: Path
    scores: StageScores
    failed: list[tuple[str, str]]


@dataclass(frozen=True)
class _Run:
    """The stages, each of which goes on where it was stopped."""

    config: PipelineConfig
    out: Path
    device: str
    executor: Executor
    workers: int
    progress: bool

    def find_masks(self, photos: Path, out: Path) -> tuple[Path, LabellingSummary]:
        """Return the first masks of a folder of photographs."""
        found = make_pseudo_masks(
            photos,
            out,
            self.config.votecut,
            executor=self.executor,
            workers=self.workers,
            device=self.device,
            pictures=12,
            progress=self.progress,
        )
        return found.labels, found.labelling

    def learn_objects(self, photos: Path, labels: Path) -> NetworkFiles:
        """Train the two networks on masks of photographs."""
        config, out, device, progress = self.config, self.out, self.device, self.progress
        objects = open_objects(photos, labels, config.objectness.objects)
        train_objectness(config.objectness, objects, out / "objectness", device=device, progress=progress)
        objects = open_objects(photos, labels, config.existence.objects)
        train_existence(config.existence, objects, out / "existence", device=device, progress=progress)
        return NetworkFiles.find(out / "objectness", out / "existence")

    def discover(self, scenes: Path, networks: NetworkFiles, out: Path) -> tuple[Path, LabellingSummary]:
        """Return the objects of scenes."""
        found = discover_folder(
            photographs(scenes),
            networks,
            out,
            self.config.discovery,
            executor=self.executor,
            workers=self.workers,
            device=self.device,
            progress=self.progress,
        )
        return found.labels, found.labelling

    def learn_detector(self, images: Path, labels: Path) -> Path:
        """Train the detector on discovered objects."""
        config, out = self.config.detector, self.out / "detector"
        data = open_detector_data(images, labels, config.data, batch_size=config.fit.batch_size)
        train_detector(data, out, config, device=self.device, progress=self.progress)
        return out / MODEL_FILE

    def score(self, validation: Path, networks: NetworkFiles) -> StageScores:
        """Score every stage on labelled images that nothing was learned from."""
        located, out = locate_set(validation), self.out / "validation"
        images = located.images[0]
        masks, _ = self.find_masks(images, out / "votecut")
        objects, _ = self.discover(images, networks, out / "discovered")
        detector = load_detector(self.out / "detector", device=self.device)
        stages: dict[str, Path | DetectorModel] = {
            "votecut": masks,
            "discovered": objects,
            "detector": detector,
        }
        return {
            name: evaluate(found, validation, out=out / name / "scores", progress=self.progress).scores
            for name, found in stages.items()
        }


def run_pipeline(
    photos: Path,
    out: Path,
    config: PipelineConfig,
    *,
    scenes: Path | None = None,
    validation: Path | None = None,
    device: str = "auto",
    executor: Executor = "inline",
    workers: int = 1,
    progress: bool = True,
) -> PipelineResult:
    """Run every stage, or what is left of them.

    Args:
        photos: folder of photographs, best of one object each.
        out: the run's folder; the same call goes on in it.
        config: settings of all stages.
        scenes: folder of images with many objects to learn detection from; the photographs themselves by default. With
            scenes, the sure first masks of the photographs are learned from as well, as published.
        validation: COCO label file, or folder of a data set, to score every stage on; nothing is chosen by it.
        device: where networks run and are trained.
        executor, workers: of the stages that go over images, see :func:`~nolabel.engine.labelling.label_items`.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings; the message names what differs.
        DataError: no mask was found, no object is sure, or nothing can be read.
    """
    out, device = Path(out), pick_device(device)
    inputs = {"photos": str(Path(photos).resolve()), "scenes": str(Path(scenes or photos).resolve())}
    with stage_folder(out, config, inputs, config.detector.fit.seed) as stage:
        run = _Run(config, out, device, executor, workers, progress)
        masks, first = run.find_masks(photos, out / "votecut")
        networks = run.learn_objects(photos, masks)
        objects, second = run.discover(scenes or photos, networks, out / "discovered")
        above, folders = _picture_folders(photos, scenes)
        prepared = prepare_labels(
            objects,
            out / "training.json",
            config.selection,
            labels=None if scenes is None else masks,
            least_score=config.least_score,
            folders=folders,
        )
        model = run.learn_detector(above, prepared.path)
        scores: StageScores = {}
        if validation is not None:
            scores = run.score(validation, networks)
        counts = {"votecut": masks, "discovered": objects, "training": prepared.path}
        report = write_report(out, scenes or photos, counts, scores)
        stage.finish(model=str(model.relative_to(out)), scores=scores)
    if progress:
        print(f"detector: {model}\nreport: {report}", file=sys.stderr)
    # Where photographs and scenes are the same, both stages name the same files.
    failed = {reason: (name, reason) for name, reason in (*first.failed, *second.failed)}
    return PipelineResult(out, model, report, scores, list(failed.values()))


def _picture_folders(photos: Path, scenes: Path | None) -> tuple[Path, PictureFolders]:
    """Return the folder above photographs and scenes, and where both are in it: they may share names."""
    if scenes is None:
        return photos, PictureFolders()
    below = [Path(folder).resolve() for folder in (scenes, photos)]
    above = Path(os.path.commonpath(below))
    of_scenes, of_photos = (folder.relative_to(above).as_posix() for folder in below)
    return above, PictureFolders(of_scenes, of_photos)
