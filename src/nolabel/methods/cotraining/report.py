"""What came of a run, as one page: scores by stage, thresholds by cycle, example labels and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from nolabel.data import read_image
from nolabel.data.domain_images import SourceImages, TargetImages
from nolabel.data.label_files import read_channels
from nolabel.data.labelled import LabelledDataset
from nolabel.engine.network_scoring import label_image
from nolabel.engine.run_folder import RunFolder
from nolabel.engine.segmentor_file import load_model
from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.methods.cotraining.co_training import BRANCHES
from nolabel.methods.cotraining.self_training import cycle_folder, cycle_record
from nolabel.methods.cotraining.settings import PipelineConfig
from nolabel.viz import Report, contact_sheet, line_plot, semantic_overlay

__all__ = ["stage_scores", "write_report"]

EXAMPLES = 4
Picture = NDArray[Any]


def write_report(
    run: Path,
    config: PipelineConfig,
    source: SourceImages,
    target: TargetImages,
    validation: LabelledDataset | None = None,
) -> dict[str, float]:
    """Write ``report.html`` and return the mIoU of every stage, in the order of the stages.

    Args:
        run: a finished run's folder.
        config: its settings.
        source: labelled images.
        target: images without labels.
        validation: labelled target images, for pictures beside the truth.
    """
    scores = stage_scores(run)
    report = Report(
        "Co-Training",
        f"{len(source)} labelled source images, {len(target)} target images without labels, classes: {config.space}.",
    )
    if scores:
        _score_section(report, scores)
    _threshold_section(report, run, config, source.space)
    _label_section(report, run, config, source.space, target)
    _prediction_section(report, run, source.space, target, validation)
    report.save(run / "report.html")
    return {name: values["miou"] for name, values in scores.items() if "miou" in values}


def stage_scores(run: Path) -> dict[str, dict[str, float]]:
    """Return the scores of every network of a run, by stage and cycle."""
    found = {"baseline": (RunFolder(run / "baseline").result() or {}).get("metrics", {})}
    for folder, record in _cycles(run / "self_training"):
        found[f"self-training {int(folder.name[-2:]) + 1}"] = record["scores"]
    for folder, record in _cycles(run / "co_training"):
        for name in BRANCHES:
            found[f"co-training {int(folder.name[-2:]) + 1} {name.upper()}"] = record["scores"][name]
    found["final"] = (RunFolder(run / "final").result() or {}).get("metrics", {})
    return {name: values for name, values in found.items() if values}


def _cycles(stage: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    cycle = 0
    while (record := cycle_record(cycle_folder(stage, cycle))) is not None:
        yield cycle_folder(stage, cycle), record
        cycle += 1


def _score_section(report: Report, scores: dict[str, dict[str, float]]) -> None:
    report.heading("Scores on labelled target images")
    report.paragraph("IoU in percent. These labels were used for this table alone.")
    classes = [name for name in next(iter(scores.values())) if name.startswith("iou/")]
    header = ["network", "mIoU", "accuracy", *(name.removeprefix("iou/") for name in classes)]
    rows = [
        [name, *(_percent(values.get(key)) for key in ("miou", "accuracy", *classes))]
        for name, values in scores.items()
    ]
    report.table(header, rows)
    values = [100 * entry["miou"] for entry in scores.values()]
    picture = line_plot(
        {"mIoU": (list(range(len(values))), values)},
        x_label="network, as in the table",
        y_label="mIoU, percent",
    )
    report.image(picture, "mIoU over the stages")


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _threshold_section(report: Report, run: Path, config: PipelineConfig, space: LabelSpace) -> None:
    report.heading("Thresholds")
    report.paragraph(
        "Confidence a pixel of each class must exceed, by cycle; 0.5 also where a class is not seen."
    )
    columns: dict[str, list[float]] = {}
    for folder, record in _cycles(run / "self_training"):
        columns[f"self {int(folder.name[-2:]) + 1}"] = record["thresholds"]
    for folder, record in _cycles(run / "co_training"):
        for name in BRANCHES:
            columns[f"{name.upper()} {int(folder.name[-2:]) + 1}"] = record["thresholds"][name]
    rows = [
        [name, *(round(values[index], 3) for values in columns.values())]
        for index, name in enumerate(space.names)
    ]
    report.table(["class", *columns], rows)
    rows = []
    for folder, record in _cycles(run / "self_training"):
        rows.append([f"self-training {int(folder.name[-2:]) + 1}", record["chosen"], record["accumulated"]])
    for folder, record in _cycles(run / "co_training"):
        for name in BRANCHES:
            sizes = record["images"][name]
            cycle = int(folder.name[-2:]) + 1
            rows.append([f"co-training {cycle} {name.upper()}", sizes["chosen"], sizes["accumulated"]])
    report.table(["cycle", "images added", "images trained on"], rows)


def _label_section(
    report: Report, run: Path, config: PipelineConfig, space: LabelSpace, target: TargetImages
) -> None:
    report.heading("Pseudo-labels")
    sets = {"first cycle": cycle_folder(run / "self_training", 0) / "pseudo_labels" / "labels"}
    last = cycle_folder(run / "self_training", config.self_training.cycles - 1)
    sets["last cycle of self-training"] = last / "pseudo_labels" / "labels"
    last = cycle_folder(run / "co_training", config.co_training.cycles - 1)
    sets |= {f"co-training {name.upper()}": last / name / "pseudo_labels" / "labels" for name in BRANCHES}
    sets["final"] = run / "final_labels" / "labels"
    rows: list[list[Picture | None]] = []
    for name in _spread(target.names):
        image = read_image(target.path(name))
        row: list[Picture | None] = [(image.permute(1, 2, 0) * 255).byte().numpy()]
        for folder in sets.values():
            path = folder / f"{name}.png"
            row.append(_overlay(image, read_channels(path, 1), space) if path.is_file() else None)
        rows.append(row)
    report.image(
        contact_sheet(rows, column_titles=["target", *sets]),
        "Labels by cycle; no picture: not among its images",
    )


def _prediction_section(
    report: Report, run: Path, space: LabelSpace, target: TargetImages, validation: LabelledDataset | None
) -> None:
    report.heading("Predictions")
    models = {name: load_model(run / name / "model.safetensors") for name in ("baseline", "final")}
    rows: list[list[Picture | None]] = []
    titles = ["target", *models]
    if validation is not None:
        titles.append("truth")
    for index in _spread(list(range(len(target if validation is None else validation)))):
        truth = None
        if validation is None:
            image = read_image(target.paths[index])
        else:
            sample = validation[index]
            image, truth = sample["image"], sample["semantic"].numpy()
        row: list[Picture | None] = [(image.permute(1, 2, 0) * 255).byte().numpy()]
        row += [_overlay(image, label_image(model, image).numpy(), space) for model in models.values()]
        rows.append(row if truth is None else [*row, _overlay(image, truth, space)])
    report.image(contact_sheet(rows, column_titles=titles), "Before and after")


def _overlay(image: torch.Tensor, labels: NDArray[Any], space: LabelSpace) -> Picture | None:
    try:
        return semantic_overlay(image, labels, space)
    except DataError:  # labels of another size than the image: they are shown alone
        return space.palette[labels]


def _spread(items: list[Any]) -> list[Any]:
    """Some items, far from each other."""
    return items[:: max(1, len(items) // EXAMPLES)][:EXAMPLES]
