"""``nolabel demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[
        Path, typer.Option(help="Where everything goes; an interrupted demo is continued.")
    ] = Path("demo"),
    recipe: Annotated[str, typer.Option(help="Packaged recipe or YAML file.")] = "cups/demo",
    workers: Annotated[int, typer.Option(help="Processes for rendering and labelling.")] = 2,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")
    ] = None,
) -> None:
    """Run the whole CUPS pipeline on the embedded world: pseudo-labels, training, held-out scores, report."""
    from nolabel.config import load_config
    from nolabel.methods.cups.demo import DemoConfig, run_demo

    result = run_demo(out, load_config(DemoConfig, recipe, settings or ()), workers=workers)
    typer.echo(result.table())
    typer.echo(f"report:  {result.report}\nresults: {result.results}")
