"""``nolabel unmore train-objectness`` and ``train-existence``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides, Overwrite, RunFolder, Seed

Images = Annotated[Path, typer.Option(help="Folder of the photographs.")]
Labels = Annotated[
    Path,
    typer.Option(
        help="Masks of objects: folder of `unmore votecut`, COCO file, or folder of PNGs named like the photographs."
    ),
]
InstancePngs = Annotated[
    Path | None,
    typer.Option("--instances", help="With a folder of PNGs: folder of PNGs with the ids of all objects."),
]
StageRecipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="Packaged recipe (unmore/tiny) or YAML file; published settings by default."
    ),
]
Evaluate = Annotated[
    str | None,
    typer.Option(
        metavar="NETWORK",
        help="Do not train: score this network (run folder, file, official checkpoint, registered name).",
    ),
]


def train_objectness(
    images: Images,
    labels: Labels,
    out: RunFolder,
    settings: Overrides = None,
    instances: InstancePngs = None,
    recipe: StageRecipe = None,
    seed: Seed = None,
    evaluate: Evaluate = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train the network that draws the boundary and the centre field of an object; the same command again goes on."""
    from nolabel.engine.devices import pick_device
    from nolabel.engine.fit_config import load_training
    from nolabel.methods.unmore.object_source import open_objects
    from nolabel.methods.unmore.objectness_training import evaluate_objectness
    from nolabel.methods.unmore.objectness_training import train_objectness as train
    from nolabel.methods.unmore.training_settings import ObjectnessTrainingConfig

    config = load_training(ObjectnessTrainingConfig, "objectness", recipe, settings, seed)
    source = open_objects(images, labels, config.objects, instances)
    if evaluate is not None:
        scores = evaluate_objectness(evaluate, config, source, out, device=pick_device(device))
        typer.echo(_line(scores))
        typer.echo(f"fields: {out / 'fields.png'}")
        return
    trained = train(config, source, out, device=device, overwrite=overwrite)
    typer.echo(_line(trained.metrics))
    typer.echo(f"network: {trained.model}    fields: {trained.picture}")
    typer.echo(
        f"next: nolabel unmore discover PHOTOS --objectness {out} --existence EXISTENCE --out DISCOVERED"
    )


def train_existence(
    images: Images,
    labels: Labels,
    out: RunFolder,
    settings: Overrides = None,
    instances: InstancePngs = None,
    recipe: StageRecipe = None,
    seed: Seed = None,
    evaluate: Evaluate = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train the network that tells whether a crop holds an object; the same command again goes on."""
    from nolabel.engine.devices import pick_device
    from nolabel.engine.fit_config import load_training
    from nolabel.methods.unmore.existence_training import evaluate_existence
    from nolabel.methods.unmore.existence_training import train_existence as train
    from nolabel.methods.unmore.object_source import open_objects
    from nolabel.methods.unmore.training_settings import ExistenceTrainingConfig
    from nolabel.structures.files import write_json

    config = load_training(ExistenceTrainingConfig, "existence", recipe, settings, seed)
    source = open_objects(images, labels, config.objects, instances)
    if evaluate is not None:
        scores = evaluate_existence(evaluate, config, source, device=pick_device(device))
        write_json(out / "eval_log.json", scores)
        typer.echo(_line(scores))
        return
    trained = train(config, source, out, device=device, overwrite=overwrite)
    typer.echo(_line(trained.metrics))
    typer.echo(f"network: {trained.model}")
    typer.echo(
        f"next: nolabel unmore discover PHOTOS --objectness OBJECTNESS --existence {out} --out DISCOVERED"
    )


def _line(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
