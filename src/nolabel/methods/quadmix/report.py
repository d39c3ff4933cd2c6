"""What came of a training, as one page: scores and losses over the steps, mixed images, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nolabel.data import read_image
from nolabel.engine.network_scoring import label_image
from nolabel.engine.run_folder import RunFolder
from nolabel.engine.segmentor_file import MODEL_FILE, load_model
from nolabel.labels import LabelSpace
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.image_data import ImageData
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.structures.files import write_png
from nolabel.viz import Report, contact_sheet, line_plot, semantic_overlay

__all__ = ["REPORT", "write_looks", "write_report"]

REPORT = "report.html"
LOOKS = "looks"
SAMPLES = 2
EXAMPLES = 4
TITLES = {
    "source": "source, true labels",
    "target": "target, teacher's labels",
    "mixed": "ClassMix",
    "on_source": "composite on source",
    "on_target": "composite on target",
    "masked": "masked",
}
Picture = NDArray[Any]


def write_looks(run: Path, step: int, samples: Mapping[str, Clip], space: LabelSpace) -> Path:
    """Write a picture of what a step learned from: the images with their labels below, void as it is.

    Args:
        run: the run folder; the file is ``looks/step_00000600.png``.
        step: number of steps done.
        samples: by name, see :class:`~nolabel.methods.quadmix.image_iteration.IterationRecord`.
        space: of the labels.
    """
    rows: list[list[Picture]] = []
    for index in range(min(SAMPLES, *(len(clip.labels) for clip in samples.values()))):
        images = [clip.frames[index, 0].detach().float().clamp(0, 1).cpu() for clip in samples.values()]
        labels = [clip.labels[index, 0].cpu() for clip in samples.values()]
        rows.append([(image.permute(1, 2, 0) * 255).byte().numpy() for image in images])
        rows.append([semantic_overlay(*pair, space) for pair in zip(images, labels, strict=True)])
    titles = [TITLES[name] for name in samples]
    path = run / LOOKS / f"step_{step:08d}.png"
    write_png(path, contact_sheet(rows, column_titles=titles, cell_width=256))
    return path


def write_report(run: Path, config: ImageConfig, data: ImageData) -> Path:
    """Write ``report.html``.

    Args:
        run: a finished training's folder.
        config: its settings.
        data: both domains.
    """
    report = Report(
        "QuadMix",
        f"{len(data.source)} labelled source images, {len(data.target)} target images without labels, classes: "
        f"{config.space}; {config.network.name}, {config.fit.steps} steps.",
    )
    log = RunFolder(run).read_log()
    _score_section(report, log, (RunFolder(run).result() or {}).get("metrics", {}))
    _loss_section(report, log)
    _look_section(report, run)
    _prediction_section(report, run, data)
    return report.save(run / REPORT)


def _score_section(report: Report, log: list[dict[str, Any]], final: Mapping[str, float]) -> None:
    if not final:
        return
    report.heading("Scores on labelled target images")
    report.paragraph("In percent. These labels were used for these numbers alone.")
    lines = [line for line in log if "validation/miou" in line]
    curve = ([line["step"] for line in lines], [100 * line["validation/miou"] for line in lines])
    report.image(line_plot({"mIoU": curve}, x_label="steps", y_label="mIoU, percent"), "mIoU over training")
    rows = [[name.removeprefix("iou/"), f"{100 * value:.1f}"] for name, value in final.items()]
    report.table(["", "at the end"], rows)


def _loss_section(report: Report, log: list[dict[str, Any]]) -> None:
    lines = [line for line in log if "train/loss" in line]
    names = sorted(
        {n for line in lines for n in line if n.startswith("train/") and not n.endswith("accuracy")}
    )
    if not names:
        return
    report.heading("Losses")
    curves = {}
    for name in names:
        there = [line for line in lines if name in line]
        curves[name.removeprefix("train/")] = (
            [line["step"] for line in there],
            [line[name] for line in there],
        )
    report.image(line_plot(curves, x_label="steps", y_label="loss", log_y=True), "Losses over training")


def _look_section(report: Report, run: Path) -> None:
    pictures = sorted((run / LOOKS).glob("step_*.png"))
    if not pictures:
        return
    report.heading("What the network learned from")
    report.paragraph("Two samples of a step, with the labels that were taught below.")
    for path in pictures[:: max(1, len(pictures) // EXAMPLES)][-EXAMPLES:]:
        image = (read_image(path).permute(1, 2, 0) * 255).byte().numpy()
        report.image(image, f"step {int(path.stem.removeprefix('step_'))}")


def _prediction_section(report: Report, run: Path, data: ImageData) -> None:
    report.heading("Predictions")
    model, space = load_model(run / MODEL_FILE), data.source.space
    images = data.target if data.validation is None else data.validation
    rows: list[list[Picture]] = []
    for index in range(0, len(images), max(1, len(images) // EXAMPLES))[:EXAMPLES]:
        truth = None
        if data.validation is None:
            image = read_image(data.target.paths[index])
        else:
            sample = data.validation[index]
            image, truth = sample["image"], sample["semantic"]
        row = [(image.permute(1, 2, 0) * 255).byte().numpy()]
        row.append(semantic_overlay(image, label_image(model, image), space))
        if truth is not None:
            row.append(semantic_overlay(image, truth, space))
        rows.append(row)
    titles = ["target", "prediction", "truth"][: len(rows[0])]
    report.image(contact_sheet(rows, column_titles=titles), "The network at the end of training")
