"""``nolabel unmore``: one command for each stage; each has a module of its own."""

from __future__ import annotations

import typer

from nolabel.cli.unmore_coco_star import coco_star
from nolabel.cli.unmore_detector import evaluate, predict, train_detector
from nolabel.cli.unmore_discover import discover, prepare, score
from nolabel.cli.unmore_networks import train_existence, train_objectness
from nolabel.cli.unmore_run import run
from nolabel.cli.unmore_votecut import masks, votecut

app = typer.Typer(
    no_args_is_help=True,
    help="Unlabelled photographs to an object detector (unMORE). The stages in order: first masks from "
    "self-supervised features (votecut), networks that learn from them what an object is (train-objectness, "
    "train-existence), all objects of scenes (discover), a detector that learns from these (train-detector). "
    "Objects have no classes. `run` does all of it. All stages hand on COCO files, so each may be replaced by your own.",
)
app.command()(run)
app.command()(votecut)
app.command()(masks)
app.command("train-objectness")(train_objectness)
app.command("train-existence")(train_existence)
app.command()(discover)
app.command()(score)
app.command()(prepare)
app.command("train-detector")(train_detector)
app.command()(evaluate)
app.command()(predict)
app.command("coco-star")(coco_star)
