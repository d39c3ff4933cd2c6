"""``nolabel unmore discover | score | prepare``: from photographs to objects that a detector can learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Overrides, Recipe

Photos = Annotated[Path, typer.Argument(help="Folder of photographs.")]
Objectness = Annotated[Path, typer.Option(help="Run folder of train-objectness, or an official checkpoint.")]
Existence = Annotated[Path, typer.Option(help="Run folder of train-existence, or an official checkpoint.")]
Out = Annotated[Path, typer.Option(help="Folder of the results; the same command again goes on.")]
Listing = Annotated[
    Path | None, typer.Option("--images", help="COCO file with the ids of the images; others are left out.")
]
DeviceName = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, ...; an accelerator if there is one.")
]
Executor = Annotated[str, typer.Option(help="inline, processes or ray.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes or Ray actors.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each worker.")]
Shard = Annotated[str | None, typer.Option(help="Do one part only, 2/8; the parts join by themselves.")]
Together = Annotated[
    int, typer.Option(min=1, help="Images looked at together; more fill the batches of a GPU.")
]
Overlays = Annotated[bool, typer.Option("--overlays", help="Draw the objects over every image.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results of other settings.")]


def discover(
    photos: Photos,
    objectness: Objectness,
    existence: Existence,
    out: Out,
    settings: Overrides = None,
    recipe: Recipe = None,
    images: Listing = None,
    device: DeviceName = None,
    executor: Executor = "inline",
    workers: Workers = 1,
    threads: Threads = 1,
    shard: Shard = None,
    together: Together = 1,
    overlays: Overlays = False,
    animations: Annotated[
        int, typer.Option(min=0, help="Show of so many images how boxes became objects (WebP).")
    ] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Find all objects of scenes by reasoning with the two networks; scores are part of it."""
    from nolabel.config import load_config
    from nolabel.methods.unmore.discovery import NetworkFiles, discover_folder, photographs
    from nolabel.methods.unmore.reasoning.settings import ReasoningSettings

    summary = discover_folder(
        photographs(photos, images),
        NetworkFiles.find(objectness, existence),
        out,
        load_config(ReasoningSettings, recipe, settings, section="discovery"),
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
        threads=threads,
        shard=shard,
        together=together,
        device=device,
        overlays=overlays,
        animations=animations,
        overwrite=overwrite,
    )
    typer.echo(summary)
    if summary.labelling.failed:
        raise typer.Exit(1)


def score(
    photos: Photos,
    boxes: Annotated[
        Path, typer.Option(help="Boxes by image id: discovery_results.json, ours or the original's.")
    ],
    objectness: Objectness,
    existence: Existence,
    out: Out,
    settings: Overrides = None,
    images: Listing = None,
    device: DeviceName = None,
    executor: Executor = "inline",
    workers: Workers = 1,
    threads: Threads = 1,
    shard: Shard = None,
    together: Together = 1,
    overlays: Overlays = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw and score the objects of boxes that are known already."""
    from nolabel.config import load_config
    from nolabel.methods.unmore.discovery import NetworkFiles, discover_folder, photographs
    from nolabel.methods.unmore.reasoning.settings import ReasoningSettings

    summary = discover_folder(
        photographs(photos, images),
        NetworkFiles.find(objectness, existence),
        out,
        load_config(ReasoningSettings, None, settings),
        boxes=boxes,
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
        threads=threads,
        shard=shard,
        together=together,
        device=device,
        overlays=overlays,
        overwrite=overwrite,
    )
    typer.echo(summary)
    if summary.labelling.failed:
        raise typer.Exit(1)


def prepare(
    discovered: Annotated[
        Path,
        typer.Argument(
            help="Folder of discover or score, its labels.json, or the original's list of objects."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The training file (COCO JSON).")],
    settings: Overrides = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of votecut to train on as well (ours or the published file).")
    ] = None,
    least_score: Annotated[float, typer.Option(help="Least score (weight) of an object of --labels.")] = 0.5,
    scenes_in: Annotated[
        str, typer.Option(help="Folder put before the scenes' names, where photographs have the same names.")
    ] = "",
    photographs_in: Annotated[str, typer.Option(help="Folder put before the names of --labels.")] = "",
    images: Annotated[
        Path | None, typer.Option("--images", help="COCO file of the images, for the original's list.")
    ] = None,
    recipe: Recipe = None,
) -> None:
    """Keep the objects that are sure, and join them with VoteCut's, as labels for a detector."""
    from nolabel.config import load_config
    from nolabel.methods.unmore.merging import PictureFolders
    from nolabel.methods.unmore.preparing import prepare_labels
    from nolabel.methods.unmore.selection import SelectionSettings

    summary = prepare_labels(
        discovered,
        out,
        load_config(SelectionSettings, recipe, settings, section="selection"),
        labels=labels,
        least_score=least_score,
        folders=PictureFolders(scenes_in, photographs_in),
        images=images,
    )
    typer.echo(summary)
