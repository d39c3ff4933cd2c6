"""Panoptic pseudo-labels from stereo video (CUPS section 3; spec cups_pseudo 1 and 9).

Stereo video in; for each pair a semantic PNG (pseudo classes), an instance PNG (0 none, 1..N) and a record of what
every stage found; at the end the classes' statistics and their split into things and stuff. No label is read.
Killed at any point, the same command goes on; shards of one folder may run anywhere.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.config import dump_config
from nolabel.data import open_stereo_video
from nolabel.data.stereo import StereoVideoDataset
from nolabel.engine.labelling import Executor, ItemResult, LabellingSummary, label_items, read_records
from nolabel.engine.seeding import generator_of
from nolabel.geometry import depth_from_disparity
from nolabel.labels import pseudo_space
from nolabel.methods.cups.fusion import (
    MAX_OBJECTS,
    align_semantic_to_instances,
    clear_border_columns,
    renumber,
)
from nolabel.methods.cups.label_source import record_source
from nolabel.methods.cups.proposals import ObjectProposals, object_proposals
from nolabel.methods.cups.pseudo_label_config import CrfConfig, PseudoLabelConfig
from nolabel.methods.cups.pseudo_label_report import StagePictures, write_report
from nolabel.methods.cups.semantic_model import (
    SemanticModel,
    ensure_clusters,
    load_model,
    load_motion,
    stereo_geometry_of,
    weights_hash,
)
from nolabel.methods.cups.semantics import semantic_log_probabilities
from nolabel.methods.cups.statistics import (
    INSTANCE_SUFFIX,
    SEMANTIC_SUFFIX,
    STATISTICS_FILE,
    PseudoClassStatistics,
    ThingStuffSplit,
    save_statistics,
    statistics_from_files,
)
from nolabel.models.dense_crf import crf_image, dense_crf
from nolabel.models.motion import MotionEstimator, StereoMotion
from nolabel.structures import StereoVideoSample
from nolabel.structures.files import encode_png, write_bytes

REFERENCE_BORDER = 32  # columns, whatever the image width


@dataclass(frozen=True)
class PseudoLabelSummary:
    """What the label folder holds after a run.

    Attributes:
        out: the folder.
        labelling: what this run did.
        statistics: counts over all labels in the folder (all shards so far).
        split: things and stuff by these counts.
        totals: sums over all images of motion segments, proposals, objects after each stage.
        empty: names of images without any object, by the stage that left none.
        report: the HTML report.
    """

    out: Path
    labelling: LabellingSummary
    statistics: PseudoClassStatistics
    split: ThingStuffSplit
    totals: dict[str, int]
    empty: dict[str, list[str]]
    report: Path

    @property
    def counts(self) -> str:
        """How many labels and objects there are and why some images have none, without any path."""
        totals = ", ".join(f"{count} {name}" for name, count in self.totals.items())
        lines = [f"{self.statistics.images} labelled images: {totals}"]
        lines += [
            f"  {len(names)} images without objects because of {stage}, for instance {names[0]}"
            for stage, names in self.empty.items()
        ]
        lines.append(f"  {len(self.split.things)} thing and {len(self.split.stuff)} stuff classes")
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = [f"{self.counts} -> {self.out / STATISTICS_FILE}"]
        lines += [f"  failed: {name}: {message}" for name, message in self.labelling.failed]
        return "\n".join([*lines, f"  report: {self.report}"])


@dataclass
class _State:
    """What a worker holds for all its items."""

    motion: MotionEstimator
    model: SemanticModel


@dataclass(frozen=True)
class PseudoLabelTask:
    """The labelling task: one item is one pair of stereo frames.

    Args:
        data: the stereo video.
        config: settings.
        cluster_file: clusters of the run (not read by DepthG).
        device: where networks run.
        pictures: draw all stages of every n-th item; 0 draws none.
        weights_hashes: of the weights' files, for the fingerprint.
    """

    data: StereoVideoDataset
    config: PseudoLabelConfig
    cluster_file: Path
    device: str
    pictures: int = 0
    weights_hashes: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Hash of settings, data and weights."""
        parts = (self.config.without_paths().fingerprint(), self.data.fingerprint, *self.weights_hashes)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        """Names of the samples."""
        return self.data.names

    def setup(self) -> _State:
        """Load the networks."""
        return _State(
            load_motion(self.config.motion, self.device),
            load_model(self.config.semantics, self.cluster_file, self.device),
        )

    def process(self, state: _State, index: int) -> ItemResult:
        """Label one pair: motion, proposals, semantics, CRF, fusion."""
        sample = self.data[index]
        labels = label_sample(sample, state.motion, state.model, self.config, self.device)
        name = sample["name"]
        space = pseudo_space(state.model.num_classes, ())
        semantic = labels.semantic.to(torch.uint8).cpu().numpy()
        files = {
            name + SEMANTIC_SUFFIX: encode_png(semantic, space.palette),
            name + INSTANCE_SUFFIX: encode_png(labels.instances.to(torch.uint8).cpu().numpy()),
        }
        if self.pictures and index % self.pictures == 0:
            pictures = StagePictures(
                sample["left_0"],
                labels.motion,
                labels.proposals,
                labels.unfused,
                labels.semantic,
                labels.instances,
            )
            files[f"pictures/{name}.jpg"] = pictures.draw(space)
        return ItemResult(files, labels.record())


@dataclass(frozen=True)
class SampleLabels:
    """Labels of one sample, with the stages they came from.

    Attributes:
        semantic: (H, W) int64 pseudo classes after fusion.
        instances: (H, W) int64 objects, 0 none, 1..N.
        unfused: (H, W) int64 pseudo classes before fusion.
        motion: flow and disparity.
        proposals: the moving objects before the borders were cleared.
    """

    semantic: Tensor
    instances: Tensor
    unfused: Tensor
    motion: StereoMotion
    proposals: ObjectProposals

    def record(self) -> dict[str, Any]:
        """Counts of every stage, and the stage that left no object."""
        report = self.proposals.report
        objects = int((torch.unique(self.instances) > 0).sum())
        return {
            "motions": sum(report.get("motions", [])),
            "proposals": sum(report.get("proposals", [])),
            "agreed": report.get("agreed", 0),
            "distinct": report.get("distinct", 0),
            "kept": self.proposals.count,
            "objects": objects,
            "empty": None if objects else report["emptied_by"] or "border",
            "classes": len(torch.unique(self.semantic)),
            "stages": report,
        }


@torch.inference_mode()
def label_sample(
    sample: StereoVideoSample,
    motion_estimator: MotionEstimator,
    model: SemanticModel,
    config: PseudoLabelConfig,
    device: torch.device | str = "cpu",
) -> SampleLabels:
    """Label one stereo video sample; the result depends on nothing but sample, networks and settings.

    Raises:
        DataError: the sample's sizes do not fit.
    """
    images = [_plain(sample[key], device) for key in ("left_0", "right_0", "left_1", "right_1")]
    motion = motion_estimator.stereo_video(*(image[None] for image in images))
    calibration = sample["calibration"]
    proposals = object_proposals(
        motion,
        calibration,
        _plain(sample["valid"], device),
        config.proposals,
        generator_of(config.seed, sample["name"]),
    )
    image, disparity = images[0], motion.disparity_0[0]
    geometry = None
    if model.extractor.uses_geometry:
        geometry = stereo_geometry_of(disparity, motion.disparity_right_0[0], calibration)
    scores = semantic_log_probabilities(
        image,
        model.extractor,
        model.classifier,
        depth=depth_from_disparity(disparity, calibration.fx, calibration.baseline),
        geometry=geometry,
        reference_compat=config.reference_compat,
    )
    unfused = refine(scores, image, config.crf, reference_compat=config.reference_compat).argmax(0)
    return fuse(unfused, motion, proposals, model.num_classes, config)


def refine(scores: Tensor, image: Tensor, config: CrfConfig, *, reference_compat: bool = False) -> Tensor:
    """Run the dense CRF at its working scale.

    Args:
        scores: (K, H, W) log-probabilities.
        image: (3, H, W) RGB in [0, 1].
        config: settings.
        reference_compat: see :func:`nolabel.models.dense_crf.crf_image`.

    Returns:
        (K, H, W) scores whose largest entry names the class.
    """
    if config.iterations == 0:
        return scores
    size = scores.shape[-2:]
    if config.scale < 1:
        small = [max(1, round(side * config.scale)) for side in size]
        scores, image = (
            F.interpolate(maps[None], size=small, mode="bilinear", align_corners=False, antialias=True)[0]
            for maps in (scores, image)
        )
    refined = dense_crf(
        scores,
        crf_image(image, reference_compat=reference_compat),
        iterations=config.iterations,
        gaussian_sxy=config.gaussian_sxy,
        gaussian_strength=config.gaussian_strength,
        bilateral_sxy=config.bilateral_sxy * config.scale,
        bilateral_srgb=config.bilateral_srgb,
        bilateral_strength=config.bilateral_strength,
    )
    if config.scale < 1:
        refined = F.interpolate(refined[None], size=size, mode="bilinear", align_corners=False)[0]
    return refined


def fuse(
    unfused: Tensor,
    motion: StereoMotion,
    proposals: ObjectProposals,
    num_classes: int,
    config: PseudoLabelConfig,
) -> SampleLabels:
    """Clear the border of objects and give every object one class.

    Under ``reference_compat`` the border is always 32 columns, ids keep their gaps, and ties follow the original.
    """
    compat = config.reference_compat
    width = unfused.shape[-1]
    columns = REFERENCE_BORDER if compat else round(config.border * width)
    instances = clear_border_columns(proposals.instances, columns)
    if not compat or int(instances.max()) > MAX_OBJECTS:
        instances = renumber(instances)
    semantic = align_semantic_to_instances(unfused, instances, num_classes, reference_compat=compat)
    return SampleLabels(semantic, instances, unfused, motion, proposals)


def generate_pseudo_labels(
    data: StereoVideoDataset | str | Path,
    out: str | Path,
    config: PseudoLabelConfig | None = None,
    *,
    executor: Executor = "inline",
    workers: int = 1,
    shard: str | None = None,
    threads: int = 1,
    device: str | None = None,
    pictures: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> PseudoLabelSummary:
    """Label all of a stereo video data set, or what is left of it.

    Args:
        data: a data set, or the folder of one (see ``nolabel doctor``).
        out: the label folder; made if absent.
        config: settings; the defaults need no weights.
        executor: ``inline``, ``processes`` or ``ray``; the labels do not depend on it.
        workers: processes or Ray actors.
        shard: ``"2/8"`` labels the second of eight parts.
        threads: torch threads of each worker.
        device: ``cpu``, ``cuda``, ...; an accelerator where there is one by default.
        pictures: draw all stages of every n-th pair into ``out/pictures``; 0 draws none.
        overwrite: replace labels made with other settings.
        progress: show progress on standard error.

    Returns:
        The summary of the whole folder; images that failed are in ``summary.labelling.failed``.

    Raises:
        ConfigError: ``out`` holds labels of other settings.
        DataError, WeightsError: the data, or the weights, cannot be used at all.
    """
    config = config or PseudoLabelConfig()
    out = Path(out)
    dataset = data if isinstance(data, StereoVideoDataset) else open_stereo_video(data)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    say = (lambda text: print(text, file=sys.stderr)) if progress else None
    out.mkdir(parents=True, exist_ok=True)
    cluster_file = ensure_clusters(dataset, config, out, device, overwrite=overwrite, say=say)
    files = (config.motion.weights, config.semantics.weights, config.semantics.cluster_file)
    hashes = tuple(weights_hash(path) for path in files)
    task = PseudoLabelTask(dataset, config, cluster_file, device, pictures, hashes)
    labelling = label_items(
        task,
        out,
        executor=executor,
        workers=workers,
        shard=shard,
        threads=threads,
        overwrite=overwrite,
        progress=progress,
        what="pseudo-labels",
    )
    write_bytes(out / "config.yaml", dump_config(config).encode())
    record_source(out, dataset)
    num_classes = load_model(config.semantics, cluster_file, "cpu").num_classes
    summary = summarise(out, labelling, num_classes, config)
    if say:
        say(str(summary))
    return summary


def summarise(
    out: Path, labelling: LabellingSummary, num_classes: int, config: PseudoLabelConfig
) -> PseudoLabelSummary:
    """Count the labels of all shards so far, and write statistics and report."""
    while True:
        records = read_records(out)
        statistics = statistics_from_files(out, num_classes, records)
        if len(read_records(out)) == len(records):  # else another shard went on meanwhile
            break
    split = save_statistics(
        out / STATISTICS_FILE,
        statistics,
        config.thing_threshold,
        reference_compat=config.reference_compat,
    )
    counted = ("motions", "proposals", "agreed", "distinct", "kept", "objects")
    totals = {name: sum(record[name] for record in records.values()) for name in counted}
    empty: dict[str, list[str]] = defaultdict(list)
    for name, record in records.items():
        if record["empty"]:
            empty[record["empty"]].append(name)
    report = write_report(out, records, statistics, split, totals, dict(empty), labelling.failed)
    return PseudoLabelSummary(out, labelling, statistics, split, totals, dict(empty), report)


def _plain(value: Tensor, device: torch.device | str) -> Tensor:
    """Take a tv_tensor as a plain tensor on the device."""
    return value.as_subclass(Tensor).to(device)
