"""``nolabel cups``: one command for each stage; each has a module of its own."""

from __future__ import annotations

import typer

from nolabel.cli.cups_fine_tune import fine_tune
from nolabel.cli.cups_predict import predict
from nolabel.cli.cups_pseudo_label import pseudo_label
from nolabel.cli.cups_self_train import self_train
from nolabel.cli.cups_semantics import train_semantics
from nolabel.cli.cups_train import train
from nolabel.cli.cups_validate import validate

app = typer.Typer(no_args_is_help=True, help="Stereo video to a panoptic network (CUPS).")
app.command("train-semantics")(train_semantics)
app.command("pseudo-label")(pseudo_label)
app.command()(train)
app.command("self-train")(self_train)
app.command("fine-tune")(fine_tune)
app.command()(validate)
app.command()(predict)
