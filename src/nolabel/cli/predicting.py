"""What the commands that predict have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from nolabel.errors import ConfigError

if TYPE_CHECKING:
    from nolabel.engine.predict_files import PredictionSummary

__all__ = ["formats_of", "report_predictions", "size_of"]


def formats_of(save: str | None) -> list[str] | None:
    """Read ``labels,overlay``."""
    return None if save is None else [kind.strip() for kind in save.split(",") if kind.strip()]


def size_of(text: str | None) -> tuple[int, int] | None:
    """Read ``512x1024`` as (height, width)."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise ConfigError(f"--size cannot be {text!r}", hint="write HEIGHTxWIDTH in pixels, such as 512x1024")
    return int(height), int(width)


def report_predictions(summary: PredictionSummary) -> None:
    """Say what was written, and leave with code 1 if images failed."""
    files = ", ".join(f"{count} {kind}" for kind, count in summary.written.items())
    typer.echo(f"{summary.count} images predicted; files in {summary.out}: {files}")
    for name, message in summary.failed:
        typer.echo(f"failed: {name}: {message}", err=True)
    if summary.failed:
        raise typer.Exit(1)
