"""The ``nolabel`` command: one group per method, one command per stage.

The modules beside this one hold the commands: their signatures are the options, their bodies import what they need
and call the Python function of the same name. Heavy imports stay inside the bodies, so ``--help`` is immediate.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from nolabel.cli import cotrain, cups, labels, prepare, pretrain, quadmix, scenedino, unmore
from nolabel.cli.data import datasets, doctor, export
from nolabel.cli.demo import demo
from nolabel.cli.weights import convert
from nolabel.cli.world import world
from nolabel.errors import NolabelError

__all__ = ["app", "main"]

app = typer.Typer(
    name="nolabel",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Scene understanding without human labels on the data at hand.",
)
app.command()(demo)
app.command()(world)
app.command()(doctor)
app.command()(datasets)
app.command()(convert)
app.command()(export)
app.add_typer(prepare.app, name="prepare")
app.add_typer(labels.app, name="labels")
app.add_typer(pretrain.app, name="pretrain")
app.add_typer(cups.app, name="cups")
app.add_typer(cotrain.app, name="cotrain")
app.add_typer(quadmix.app, name="quadmix")
app.add_typer(unmore.app, name="unmore")
app.add_typer(scenedino.app, name="scenedino")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from nolabel import __version__

        typer.echo(f"nolabel {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; errors made for people are printed without a traceback."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except NolabelError as error:
        console.print(f"[bold red]error:[/] {escape(error.message)}")
        if error.hint:
            console.print(f"  [bold]->[/] {escape(error.hint)}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted: finished work is kept; the same command continues where it stopped.")
        sys.exit(130)
