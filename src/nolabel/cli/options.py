"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Threshold = Annotated[float | None, typer.Option(help="Score from which instances are kept, 0..1.")]
Part = Annotated[
    Literal["student", "teacher"],
    typer.Option(help="Which network of a training with a teacher: the one trained, or its running average."),
]
ValidationData = Annotated[
    Path | None,
    typer.Option(
        "--validate",
        help="Labelled data set to score on during training (fit.validate_every) and at its end.",
    ),
]
SourceData = Annotated[
    list[Path] | None,
    typer.Option("--source", help="Labelled source images; once for each data set of the recipe."),
]
TargetData = Annotated[list[Path] | None, typer.Option("--target", help="Target images without labels.")]
Recipe = Annotated[str | None, typer.Option(help="Packaged recipe (METHOD/tiny) or YAML file.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything; default: the recipe's.")]
RunFolder = Annotated[Path, typer.Option(help="Run folder; an unfinished run in it is continued.")]
Overwrite = Annotated[bool, typer.Option(help="Start anew where another run was.")]
Size = Annotated[
    str | None,
    typer.Option(help="Size of the results; that of each image by default.", metavar="HEIGHTxWIDTH"),
]
MaxSide = Annotated[
    int | None,
    typer.Option(min=1, help="Scale larger images down to this longer side for the network, in pixels."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images of one size to predict together.")]
Fps = Annotated[
    float | None,
    typer.Option(min=0.1, help="Speed of written videos; that of the source, or 10, by default."),
]
