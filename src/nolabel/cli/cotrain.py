"""``nolabel cotrain``: the whole loop, and one command for each stage."""

from __future__ import annotations

import typer

from nolabel.cli.cotrain_loops import co_train, label, self_train
from nolabel.cli.cotrain_run import run
from nolabel.cli.cotrain_trainings import train_baseline, train_final, translate_lab
from nolabel.cli.segmentation_use import evaluate, predict

app = typer.Typer(
    no_args_is_help=True, help="Labelled synthetic images to a network for real ones (Co-Training)."
)
app.command()(run)
app.command("translate-lab")(translate_lab)
app.command("train-baseline")(train_baseline)
app.command("self-train")(self_train)
app.command("co-train")(co_train)
app.command()(label)
app.command("train-final")(train_final)
app.command()(evaluate)
app.command()(predict)
