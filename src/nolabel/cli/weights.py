"""``nolabel convert``: any official weights file to safetensors with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.errors import ConfigError

__all__ = ["convert"]


def convert(
    source: Annotated[str, typer.Argument(help="An official file, or a name of the registry.")],
    target: Annotated[Path, typer.Argument(help="A .safetensors file, or a folder.")],
    part: Annotated[
        str | None,
        typer.Option(
            help="Keep only the student or the teacher, without their prefix.", metavar="student|teacher"
        ),
    ] = None,
) -> None:
    """Turn an official weights file into safetensors and a JSON card; nothing in the file is executed."""
    from nolabel import weights

    if part is not None and part not in ("student", "teacher"):
        raise ConfigError(f"--part cannot be {part!r}", hint="write student or teacher")
    written = weights.convert(weights.find_weights(source), target, part=part)  # type: ignore[arg-type]
    typer.echo(f"{written}\n{written.with_suffix('.json')}")
