"""``nolabel pretrain``: weights from footage alone; one command for each kind of network."""

from __future__ import annotations

import typer

from nolabel.cli.pretrain_features import evaluate_features, features
from nolabel.cli.pretrain_motion import evaluate_motion, motion

app = typer.Typer(
    no_args_is_help=True,
    help="Weights from nothing: features and motion learnt from raw footage, without labels or foreign weights.",
)
app.command()(features)
app.command("evaluate-features")(evaluate_features)
app.command()(motion)
app.command("evaluate-motion")(evaluate_motion)
