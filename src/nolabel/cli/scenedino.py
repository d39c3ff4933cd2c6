"""``nolabel scenedino``: one command for each stage; each has a module of its own."""

from __future__ import annotations

import typer

from nolabel.cli.scenedino_data import evaluate_2d, evaluate_consistency, evaluate_ssc, prepare
from nolabel.cli.scenedino_predict import predict
from nolabel.cli.scenedino_train import distill, train

app = typer.Typer(
    no_args_is_help=True,
    help="Posed video of several cameras to 3D scenes from one image (SceneDINO): a field of density and features is "
    "learnt from the views of each other, then split into semantic classes, all without labels.",
)
app.command()(prepare)
app.command()(train)
app.command()(distill)
app.command("evaluate-2d")(evaluate_2d)
app.command("evaluate-ssc")(evaluate_ssc)
app.command("evaluate-consistency")(evaluate_consistency)
app.command()(predict)
