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
    names: Annotated[
        Path | None,
        typer.Option(help="For SMURF's TensorFlow variables: JSON table, layer in the file -> in torch."),
    ] = None,
) -> None:
    """Turn an official weights file into safetensors and a JSON card; nothing in the file is executed.

    SMURF's TensorFlow checkpoint is taken as an .npz of its variables. Make one where TensorFlow is installed:

    r = tensorflow.train.load_checkpoint("FOLDER"); names = r.get_variable_to_shape_map()

    numpy.savez("smurf.npz", **{n: r.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")})
    """
    from nolabel import weights

    if part is not None and part not in ("student", "teacher"):
        raise ConfigError(f"--part cannot be {part!r}", hint="write student or teacher")
    layers = None if names is None else _table(names)
    written = weights.convert(weights.find_weights(source), target, part=part, layers=layers)  # type: ignore[arg-type]
    typer.echo(f"{written}\n{written.with_suffix('.json')}")


def _table(path: Path) -> dict[str, str]:
    import json

    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the table {path}: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigError(
            f"{path} is no JSON object of names", hint='write {"layer in the file": "layer in torch"}'
        )
    return table
