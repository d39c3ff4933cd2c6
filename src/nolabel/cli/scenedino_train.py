"""``nolabel scenedino train`` and ``distill``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides, Overwrite, RunFolder, Seed

PosedData = Annotated[
    Path, typer.Option(help="Posed views: KITTI-360, a kitti360 world, an own rig (rig.yaml), RealEstate10K.")
]
StageRecipe = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="Packaged recipe (scenedino/tiny) or YAML file; published settings by default."
    ),
]
Validate = Annotated[
    Path | None,
    typer.Option(
        "--validate",
        help="Data whose validation split is scored; --data by default. data.validation_split=none scores nothing.",
    ),
]


def train(
    data: PosedData,
    out: RunFolder,
    settings: Overrides = None,
    validate: Validate = None,
    recipe: StageRecipe = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Stage 1: learn geometry and features from the views of each other; the same command again goes on."""
    from nolabel.engine.fit_config import load_training
    from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig
    from nolabel.methods.scenedino.geometry_training import train_geometry
    from nolabel.methods.scenedino.training_data import open_scenes, scenes_identity

    config = load_training(GeometryTrainingConfig, "geometry", recipe, settings, seed)
    size = config.network.image_size
    scenes, looked_at = open_scenes(data, config.data, size), None
    if config.data.validation_split != "none":
        looked_at = open_scenes(validate or data, config.data, size, scored=True, depth=True)
    trained = train_geometry(
        config,
        scenes,
        out,
        looked_at=looked_at,
        inputs={"scenes": scenes_identity(scenes)},
        device=device,
        overwrite=overwrite,
    )
    typer.echo(_line(trained.metrics))
    typer.echo(f"network: {trained.model}")
    typer.echo(f"next: nolabel scenedino distill --from {out} --data {data} --out SEMANTICS")


def distill(
    network: Annotated[
        Path, typer.Option("--from", help="Stage 1: run folder, network file, or official checkpoint.")
    ],
    data: PosedData,
    out: RunFolder,
    settings: Overrides = None,
    validate: Validate = None,
    recipe: StageRecipe = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Stage 2: split the features into classes, without labels; the same command again goes on.

    Labels of the training scenes, where there are any, teach only the linear probes. Those of the validation split score
    the head and name its clusters.
    """
    from nolabel.engine.fit_config import load_training
    from nolabel.methods.scenedino.network_files import load_scenedino
    from nolabel.methods.scenedino.semantic_settings import SemanticTrainingConfig
    from nolabel.methods.scenedino.semantic_training import train_semantics
    from nolabel.methods.scenedino.training_data import open_scenes, scenes_identity

    config = load_training(SemanticTrainingConfig, "semantics", recipe, settings, seed)
    size = load_scenedino(network).config.image_size
    scenes, looked_at = open_scenes(data, config.data, size, labels=True), None
    if config.data.validation_split != "none":
        looked_at = open_scenes(validate or data, config.data, size, scored=True, labels=True)
    trained = train_semantics(
        config,
        network,
        scenes,
        out,
        looked_at=looked_at,
        inputs={"scenes": scenes_identity(scenes)},
        device=device,
        overwrite=overwrite,
    )
    typer.echo(_line(trained.metrics))
    typer.echo(f"network: {trained.model}")
    typer.echo(f"next: nolabel scenedino evaluate-2d {out} --data {data}")


def _line(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items()) or "not scored"
