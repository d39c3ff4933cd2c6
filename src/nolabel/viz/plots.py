"""Line and bar plots as pictures (matplotlib without a display)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nolabel.errors import DependencyError
from nolabel.viz.colours import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

SERIES_COLOURS = ("#3366cc", "#dc3912", "#109618", "#990099", "#ff9900", "#0099c6", "#dd4477", "#66aa00")


def _figure(size: tuple[int, int], title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("plots need matplotlib", hint="pip install matplotlib") from error
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _picture(figure: Figure) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def line_plot(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    size: tuple[int, int] = (720, 400),
) -> Picture:
    """Draw named curves.

    Args:
        series: name -> (x, y); not finite values break the line.
        title, x_label, y_label: texts, the labels with their units.
        log_y: logarithmic y axis.
        size: (width, height) in pixels.
    """
    figure, axes = _figure(size, title, x_label, y_label)
    for i, (name, (x, y)) in enumerate(series.items()):
        few = np.size(x) <= 30
        colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
        axes.plot(x, y, label=name, color=colour, linewidth=1.8, marker="o" if few else "", markersize=4)
    if log_y:
        axes.set_yscale("log")
    if len(series) > 1:
        axes.legend(frameon=False)
    return _picture(figure)


def bar_plot(
    names: Sequence[str],
    groups: Mapping[str, ArrayLike],
    *,
    title: str = "",
    y_label: str = "",
    size: tuple[int, int] = (900, 400),
) -> Picture:
    """Draw one group of bars for each name; NaN draws no bar.

    Args:
        names: texts below the bars.
        groups: legend name -> one value for each of ``names``.
        title, y_label: texts.
        size: (width, height) in pixels.
    """
    figure, axes = _figure(size, title, "", y_label)
    width = 0.8 / max(1, len(groups))
    places = np.arange(len(names))
    for i, (name, values) in enumerate(groups.items()):
        shift = (i - (len(groups) - 1) / 2) * width
        colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
        axes.bar(places + shift, np.asarray(values, np.float64), width, label=name, color=colour)
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.grid(visible=False, axis="x")
    if len(groups) > 1:
        axes.legend(frameon=False)
    return _picture(figure)


def matrix_plot(
    values: ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    marked: Sequence[int | None] = (),
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> Picture:
    """Draw a table of shares as a heat map.

    Args:
        values: ``(R, C)`` in 0..1.
        row_names, column_names: texts at the axes.
        marked: for each row the column to frame, ``None`` for none.
        title, x_label, y_label: texts.
    """
    shares = np.asarray(values, np.float64)
    rows, columns = shares.shape
    size = (max(420, 190 + 28 * columns), max(260, 150 + 20 * rows))
    figure, axes = _figure(size, title, x_label, y_label)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(columns), column_names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(rows), row_names)
    for row, column in enumerate(marked):
        if column is not None:
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(_frame(corner))
    figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02)
    return _picture(figure)


def _frame(corner: tuple[float, float]) -> Patch:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, fill=False, edgecolor=SERIES_COLOURS[1], linewidth=1.6)
