"""Panoptic pseudo-labels from stereo video (CUPS section 3; spec cups_pseudo 1 and 9).

Stereo video in; for each pair a semantic PNG (pseudo classes), an instance PNG (0 none, 1..N) and a record of what
every stage found; at the end the classes' statistics and their split into things and stuff. No label is read.
Killed at any point, the same command goes on; shards of one folder may run anywhere.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nolabel.config import dump_config
from nolabel.data import open_stereo_video
from nolabel.data.doctor_report import Finding
from nolabel.data.footage import image_fault
from nolabel.data.stereo import StereoVideoDataset
from nolabel.engine.devices import pick_device
from nolabel.engine.executors import worker_device
from nolabel.engine.labelling import (
    Estimate,
    Executor,
    ItemResult,
    LabellingSummary,
    estimate,
    label_items,
    read_failures,
    read_records,
)
from nolabel.errors import DataError
from nolabel.labels import pseudo_space
from nolabel.methods.cups.label_source import record_source
from nolabel.methods.cups.motion_source import MotionSource, motion_hash, open_motion
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.pseudo_label_findings import find_faults
from nolabel.methods.cups.pseudo_label_report import StagePictures, write_report
from nolabel.methods.cups.sample_labels import label_sample
from nolabel.methods.cups.semantic_model import SemanticModel, ensure_clusters, load_model, weights_hash
from nolabel.methods.cups.statistics import (
    INSTANCE_SUFFIX,
    SEMANTIC_SUFFIX,
    STATISTICS_FILE,
    PseudoClassStatistics,
    ThingStuffSplit,
    save_statistics,
    statistics_from_files,
)
from nolabel.structures import StereoVideoSample
from nolabel.structures.files import encode_png, write_bytes

COUNTED = ("motions", "proposals", "agreed", "distinct", "kept", "objects")
VIEWS = ("left_0", "right_0", "left_1", "right_1")


@dataclass(frozen=True)
class PseudoLabelSummary:
    """What the label folder holds after a run.

    Attributes:
        out: the folder.
        labelling: what this run did.
        statistics: counts over all labels in the folder (all shards so far).
        split: things and stuff by these counts.
        totals: sums over all images of motion segments, proposals, objects after each stage.
        findings: what is wrong with footage, calibration or labels, in plain words; problems first.
        report: the HTML report.
    """

    out: Path
    labelling: LabellingSummary
    statistics: PseudoClassStatistics
    split: ThingStuffSplit
    totals: dict[str, int]
    findings: tuple[Finding, ...]
    report: Path

    @property
    def counts(self) -> str:
        """What is wrong, how many labels and objects there are, and what to do; without any path of this machine."""
        totals = ", ".join(f"{count} {name}" for name, count in self.totals.items())
        lines = [finding.text() for finding in self.findings]
        lines.append(f"{self.statistics.images} labelled images: {totals}")
        lines.append(f"  {len(self.split.things)} thing and {len(self.split.stuff)} stuff classes")
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.counts} -> {self.out / STATISTICS_FILE}\n  report: {self.report}"


@dataclass
class _State:
    """What a worker holds for all its items."""

    motion: MotionSource
    model: SemanticModel
    device: str


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
        """Load the networks; processes share the GPUs of ``cuda`` evenly."""
        device = worker_device(self.device)
        return _State(
            open_motion(self.data, self.config.motion, device),
            load_model(self.config.semantics, self.cluster_file, device),
            device,
        )

    def process(self, state: _State, index: int) -> ItemResult:
        """Label one pair: motion, proposals, semantics, CRF, fusion.

        Raises:
            DataError: a frame cannot be read, or shows nothing.
        """
        sample = self.data[index]
        self._check_content(index, sample)
        with torch.inference_mode():
            motion = state.motion.of(index, sample)
        labels = label_sample(sample, motion, state.model, self.config, state.device)
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

    def _check_content(self, index: int, sample: StereoVideoSample) -> None:
        for view in VIEWS:
            fault = image_fault(sample[view])  # type: ignore[literal-required]
            if fault is not None:
                path = getattr(self.data.pairs[index], view)
                side, frame = view.split("_")
                which = "first" if frame == "0" else "second"
                raise DataError(
                    f"the {which} {side} image is {fault} ({'/'.join(path.parts[-2:])}), so there is nothing to label",
                    hint="take the frame out or export it again, then run the same command; the other images are done",
                )


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
        device: ``cpu``, ``cuda``, ...; an accelerator where there is one by default. Several processes on ``cuda`` take
            its GPUs in turn.
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
    task = _prepare(data, out, config, device, pictures, overwrite, progress)
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
    record_source(out, task.data)
    num_classes = load_model(config.semantics, task.cluster_file, "cpu").num_classes
    summary = summarise(out, labelling, num_classes, config, task.data)
    if progress:
        print(summary, file=sys.stderr)
    return summary


def estimate_pseudo_labels(
    data: StereoVideoDataset | str | Path,
    out: str | Path,
    config: PseudoLabelConfig | None = None,
    *,
    samples: int = 2,
    device: str | None = None,
    progress: bool = True,
) -> Estimate:
    """Say how many labels are to be made, and how long they and how much disk they will take, from a few samples.

    Nothing but the clusters is written: labelling needs them as well.

    Args:
        data: as for :func:`generate_pseudo_labels`.
        out: the label folder; what is finished in it counts as done.
        config: settings.
        samples: pairs that are labelled and timed.
        device: where networks run.
        progress: say what is done on standard error.
    """
    task = _prepare(data, Path(out), config or PseudoLabelConfig(), device, 0, False, progress)
    return estimate(task, Path(out), sample=samples)


def _prepare(
    data: StereoVideoDataset | str | Path,
    out: Path,
    config: PseudoLabelConfig,
    device: str | None,
    pictures: int,
    overwrite: bool,
    progress: bool,
) -> PseudoLabelTask:
    """Open the data, fit the clusters unless they are there, and name what the labels depend on."""
    dataset = data if isinstance(data, StereoVideoDataset) else open_stereo_video(data)
    device = pick_device(device)
    say = (lambda text: print(text, file=sys.stderr)) if progress else None
    out.mkdir(parents=True, exist_ok=True)
    cluster_file = ensure_clusters(dataset, config, out, device, overwrite=overwrite, say=say)
    semantics = config.semantics
    hashes = (
        motion_hash(config.motion),
        weights_hash(semantics.weights, semantics.features),
        weights_hash(semantics.cluster_file),
    )
    return PseudoLabelTask(dataset, config, cluster_file, device, pictures, hashes)


def summarise(
    out: Path,
    labelling: LabellingSummary,
    num_classes: int,
    config: PseudoLabelConfig,
    data: StereoVideoDataset,
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
    totals = {name: sum(record[name] for record in records.values()) for name in COUNTED}
    failures = read_failures(out)
    findings = find_faults(records, failures, data)
    report = write_report(out, records, failures, statistics, split, totals, findings)
    return PseudoLabelSummary(out, labelling, statistics, split, totals, findings, report)
