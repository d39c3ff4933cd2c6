"""Semantic scene completion on SSCBench-KITTI-360: of a model, a baseline, or label volumes on disk (spec 11.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nolabel.data.files import examples
from nolabel.data.sscbench import SscbenchFrames, SscFrame, find_voxels, read_voxels
from nolabel.engine.progress import Progress
from nolabel.errors import ConfigError, DataError
from nolabel.labels import SSC_16, raw_table
from nolabel.methods.scenedino.scene_model import SceneModel, VolumePrediction, spread
from nolabel.metrics.completion import (
    SSC_ORIGIN,
    SSC_RANGES,
    VOXEL_SIZE,
    CompletionQuality,
    CompletionScores,
    completion_table,
    ssc_field_of_view,
    ssc_prediction_labels,
    ssc_target_labels,
    ssc_voxel_centres,
)
from nolabel.structures import VoxelScene
from nolabel.structures.files import write_bytes, write_json

__all__ = [
    "TRADE_OFF",
    "SscResult",
    "evaluate_ssc",
    "evaluate_volumes",
    "model_labels",
    "score_labels",
    "volume_of",
]

TRADE_OFF = (1, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001)
"""Densities from which a voxel counts as occupied, in the curve of precision and recall."""
Space = Literal["ssc_16", "sscbench_19"]


@dataclass(frozen=True)
class SscResult:
    """Scores of scene completion.

    Attributes:
        name: what was scored.
        frames: how many.
        scores: at the three ranges.
        trade_off: by density threshold: the occupied voxels' IoU, precision and recall at the largest range; empty for
            label volumes, which have no density.
        files: what was written.
    """

    name: str
    frames: int
    scores: CompletionScores
    trade_off: dict[float, tuple[float, float, float]]
    files: tuple[Path, ...] = ()

    def table(self) -> str:
        """Return the benchmark's two tables, in percent."""
        parts = []
        for mode, scores in (("direct", self.scores.direct), ("hungarian", self.scores.matched)):
            rows = completion_table(scores)
            lines = [f"# Benchmark Results for '{self.name}' / Mode: {mode}", ""]
            rule = f"|{'-' * 15}|{'-' * 7}|{'-' * 7}|{'-' * 7}|"
            for number, (name, *values) in enumerate(rows):
                lines.append(f"| {name:<13} |" + "".join(f" {value:>5} |" for value in values))
                if number in (0, 3):
                    lines.append(rule)
            lines.append("")
            if mode == "hungarian":
                numbers = " ".join(f"{value:2d}" for value in self.scores.reassignment.tolist())
                lines.append(f"Reassignment: [{numbers}]")
            lines.append(f"Mean IoU: {100 * scores[-1].miou:.2f}")
            lines.append(f"Weighted Mean IoU: {100 * scores[-1].weighted_miou:.2f}")
            parts.append("\n".join(lines))
        return "\n\n\n".join(parts)

    def values(self) -> dict[str, float]:
        """The numbers by name: ``iou_12.8``, ``miou_12.8``, ``miou_hungarian_12.8``, ..."""
        named: dict[str, float] = {}
        for reach, direct, matched in zip(SSC_RANGES, self.scores.direct, self.scores.matched, strict=True):
            named |= {f"iou_{reach}": direct.geometric_iou, f"precision_{reach}": direct.precision}
            named |= {f"recall_{reach}": direct.recall, f"miou_{reach}": direct.miou}
            named |= {f"weighted_miou_{reach}": direct.weighted_miou, f"miou_hungarian_{reach}": matched.miou}
        return named

    def write(self, out: Path) -> SscResult:
        """Write results.md and results.json."""
        record: dict[str, Any] = {"name": self.name, "frames": self.frames, **self.values()}
        record["confusion"] = {
            str(reach): table.tolist() for reach, table in zip(SSC_RANGES, self.scores.confusion, strict=True)
        }
        record["sigma_trade_off"] = {
            str(threshold): list(values) for threshold, values in self.trade_off.items()
        }
        files = (
            write_bytes(out / "results.md", (self.table() + "\n").encode()),
            write_json(out / "results.json", _without_nan(record)),
        )
        return SscResult(self.name, self.frames, self.scores, self.trade_off, files)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def volume_of(model: SceneModel, image: Tensor, intrinsics: Tensor) -> VolumePrediction:
    """Density and class of the voxels of SSCBench's grid that the camera sees, each (256, 256, 32) on the CPU.

    Args:
        model: what is asked.
        image: (3, H, W) RGB in [0, 1].
        intrinsics: (3, 3) pixels.
    """
    centres, seen = _grid()
    volume = model.volume(image, intrinsics, centres.to(image.device), seen.to(image.device))
    return VolumePrediction(volume.density.float().cpu(), volume.classes.long().cpu())


@cache
def _grid() -> tuple[Tensor, Tensor]:
    """Voxel centres in the camera's frame, and which of them it sees."""
    return ssc_voxel_centres().float(), ssc_field_of_view()


def model_labels(volume: VolumePrediction, *, reference_compat: bool = False) -> Tensor:
    """The evaluation's labels (256, 256, 32) int64 of a volume; see ``ssc_prediction_labels``."""
    return ssc_prediction_labels(
        volume.classes[None], volume.density[None], reference_compat=reference_compat
    )[0]


def score_labels(
    pairs: Iterable[tuple[Tensor, Tensor]], name: str = "labels", trade_off: _TradeOff | None = None
) -> SscResult:
    """Score pairs of label volumes: predictions of 16 labels and SSCBench's own targets, each (256, 256, 32)."""
    metric, frames = CompletionQuality(_grid()[1]), 0
    for prediction, target in pairs:
        metric.update(prediction[None], ssc_target_labels(target[None]))
        frames += 1
    if not frames:
        raise DataError("there is no frame to score")
    curve = {} if trade_off is None else trade_off.values()
    return SscResult(name, frames, metric.compute(), curve)


class _TradeOff:
    """Counts of occupied voxels at each threshold, over the largest range."""

    def __init__(self) -> None:
        self.field_of_view = _grid()[1]
        self.counts = torch.zeros(len(TRADE_OFF), 3, dtype=torch.int64)  # both, predicted, true

    def add(self, density: Tensor, target: Tensor) -> None:
        """Add a frame: density and SSCBench's target, each (256, 256, 32)."""
        labels = ssc_target_labels(target[None])[0]
        counts = (labels != 255) & self.field_of_view
        true = (labels > 0)[counts]
        grown = torch.nn.functional.max_pool3d(density[None, None].float(), 3, stride=1, padding=1)[0, 0][
            counts
        ]
        for place, threshold in enumerate(TRADE_OFF):
            predicted = grown >= threshold
            both = (predicted & true).sum()
            self.counts[place] += torch.stack([both, predicted.sum(), true.sum()])

    def values(self) -> dict[float, tuple[float, float, float]]:
        """IoU, precision and recall at each threshold."""
        result = {}
        for threshold, (both, predicted, true) in zip(TRADE_OFF, self.counts.tolist(), strict=True):
            union = predicted + true - both
            result[threshold] = (both / max(union, 1), both / max(predicted, 1), both / max(true, 1))
        return result


def evaluate_ssc(
    model: SceneModel,
    frames: SscbenchFrames | Sequence[SscFrame],
    *,
    name: str = "scenedino",
    out: str | Path | None = None,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    reference_compat: bool = False,
    save_volumes: bool = False,
    progress: bool = True,
) -> SscResult:
    """Score a model.

    Args:
        model: what is scored.
        frames: images and voxels.
        name: in the tables.
        out: folder of results.md and results.json.
        limit: score this many frames, evenly spread.
        device: where images and points are put.
        reference_compat: see :func:`nolabel.metrics.completion.ssc_prediction_labels`.
        save_volumes: also keep the labels, in ``out``/volumes: arrays and point clouds (PLY).
        progress: show progress on standard error.
    """
    chosen = spread(len(frames), limit)
    if save_volumes and out is None:
        raise ConfigError("volumes need a folder", hint="give --out")
    curve = _TradeOff()

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        with Progress("completing scenes", len(chosen), unit="frames", enabled=progress) as bar:
            for index in chosen:
                frame = frames[index]
                with torch.no_grad():
                    volume = volume_of(model, frame.image.to(device), frame.intrinsics.to(device))
                labels = model_labels(volume, reference_compat=reference_compat)
                curve.add(volume.density, frame.voxels)
                if save_volumes:
                    _save(Path(str(out)) / "volumes", frame.name, labels)
                yield labels, frame.voxels
                bar.advance()

    result = score_labels(pairs(), name, curve)
    return result if out is None else result.write(Path(out))


def evaluate_volumes(
    predictions: str | Path,
    targets: str | Path,
    *,
    space: Space = "ssc_16",
    name: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> SscResult:
    """Score label volumes of any origin.

    Args:
        predictions: folder of ``<drive>/<frame>_1_1.npy`` like the targets', or of ``<drive>/<frame>_voxels.npz`` as
            ``evaluate_ssc`` and ``VoxelScene.save`` write them.
        targets: SSCBench's labels.
        space: of the predictions: ``ssc_16`` (empty and 15 classes) or ``sscbench_19`` (as SSCBench publishes them).
        name: in the tables; the folder's by default.
        out: folder of results.md and results.json.
        progress: show progress on standard error.

    Raises:
        DataError: a target has no prediction, or volumes differ in shape.
    """
    volumes = {(path.parent.name, path.name.split("_")[0]): path for path in find_voxels(predictions)}
    wanted = {(path.parent.name, path.name.split("_")[0]): path for path in find_voxels(targets)}
    missing = sorted(set(wanted) - set(volumes))
    if missing:
        raise DataError(
            f"{predictions} lacks {len(missing)} of {len(wanted)} volumes: {examples('/'.join(key) for key in missing)}",
            hint="name them like the targets: <drive>/<6 digits>_1_1.npy",
        )
    known = np.arange(256) if space == "ssc_16" else raw_table("sscbench", "ssc_16")
    table = torch.from_numpy(known.astype(np.int64))

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        with Progress("scoring volumes", len(wanted), unit="frames", enabled=progress) as bar:
            for key, path in wanted.items():
                prediction, target = table[read_voxels(volumes[key]).long()], read_voxels(path)
                if prediction.shape != target.shape:
                    raise DataError(
                        f"{volumes[key]}: {tuple(prediction.shape)}, target {tuple(target.shape)}"
                    )
                yield prediction, target
                bar.advance()

    result = score_labels(pairs(), name or Path(predictions).name)
    return result if out is None else result.write(Path(out))


def _save(folder: Path, name: str, labels: Tensor) -> None:
    """Keep a volume as ``<drive>/<frame>_voxels.npz`` and ``.ply``; :func:`evaluate_volumes` reads the former."""
    drive, frame = name.rsplit("_", 1)
    VoxelScene(labels, torch.tensor(SSC_ORIGIN), VOXEL_SIZE, SSC_16).save(folder / drive, frame)
