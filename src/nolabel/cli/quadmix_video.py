"""``nolabel quadmix video``: training on video, its scores and its use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import (
    Device,
    Fps,
    MaxSide,
    Overrides,
    Overwrite,
    RunFolder,
    Seed,
    Size,
    SourceData,
    TargetData,
    ValidationData,
)

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Video: source-only, TPS and QuadMix with two-frame networks.")

VideoRecipe = Annotated[
    str,
    typer.Option(
        help="quadmix/video_viper, video_synthia_seq, each also _vit, _tps, _source; tiny_video; or a YAML file."
    ),
]
Executed = Annotated[bool, typer.Option("--reference-compat", help="As the published networks were trained.")]
Model = Annotated[str, typer.Argument(help="Run folder, model.safetensors or official video checkpoint.")]
Estimator = Annotated[str, typer.Option(help="Flow: raft_large, raft_small, raft_smurf or opencv.")]


@app.command()
def train(
    out: RunFolder,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: VideoRecipe = "quadmix/video_viper",
    seed: Seed = None,
    device: Device = "auto",
    reference_compat: Executed = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a two-frame network; flow that is not there is estimated first and kept in OUT/flow.

    Without mixing=null it is QuadMix; with mixing=null class_vectors=null TPS; with temporal=null besides, the source
    alone.
    """
    from nolabel.methods.quadmix.video_opening import load_video_settings
    from nolabel.methods.quadmix.video_training import train_video

    config = load_video_settings(
        recipe,
        settings,
        source=source,
        target=target,
        validation=validate,
        seed=seed,
        executed=reference_compat,
    )
    path = train_video(config, out, device=device, overwrite=overwrite)
    typer.echo(f"network: {path}    next: nolabel quadmix video predict {out} VIDEO --out predictions")


@app.command()
def prepare(
    out: RunFolder,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: VideoRecipe = "quadmix/video_viper",
    device: Device = "auto",
) -> None:
    """Check the data of a training, and estimate its flow ahead of time; `train` with the same OUT takes it."""
    from nolabel.methods.quadmix.video_opening import load_video_settings
    from nolabel.methods.quadmix.video_training import prepare_video

    config = load_video_settings(recipe, settings, source=source, target=target, validation=validate)
    clips, others, _ = prepare_video(config, out, device=device)
    count = "" if others is None else f" and {len(others)} target clips"
    typer.echo(f"{len(clips)} source{count} are ready; flow: {config.flow.cache or out / 'flow'}")


@app.command()
def evaluate(
    model: Model,
    data: Annotated[
        Path, typer.Option(help="Labelled video: Cityscapes sequences, VIPER, SYNTHIA-Seq, folder.")
    ],
    out: Annotated[Path, typer.Option(help="results.json and scores.txt; estimated flow is kept here, too.")],
    dataset: Annotated[str | None, typer.Option(help="Layout of --data, where it is not recognised.")] = None,
    split: Annotated[str, typer.Option(help="Part of the data set.")] = "val",
    flow: Annotated[Path | None, typer.Option(help="Folder of flow files; estimated by default.")] = None,
    estimator: Estimator = "raft_large",
    device: Device = "auto",
) -> None:
    """Score a network: IoU of every class, means over 15 or 12 and 11 classes, and temporal consistency."""
    from nolabel.api.evaluate_video import evaluate_video
    from nolabel.engine.devices import pick_device
    from nolabel.methods.quadmix.video_model import load_video_model

    result = evaluate_video(
        load_video_model(model, device=pick_device(device)),
        data,
        out / "flow",
        dataset=dataset,
        split=split,
        flow=flow,
        estimator=estimator,
        out=out,
    )
    typer.echo(result.table())
    typer.echo(f"results: {out / 'results.json'}")


@app.command()
def predict(
    model: Model,
    sources: Annotated[list[Path], typer.Argument(help="Videos, and folders of frames.")],
    out: Annotated[Path, typer.Option(help="Where the results go; files of the same names are replaced.")],
    save: Annotated[
        str | None,
        typer.Option(
            help="labels, colours, confidence, overlay, video, gallery; by default labels, video and gallery.",
            metavar="KIND,...",
        ),
    ] = None,
    size: Size = None,
    max_side: MaxSide = None,
    fps: Fps = None,
    estimator: Estimator = "raft_large",
    device: Device = "auto",
) -> None:
    """Label videos, or frames in the order of their names; flow is estimated on the way."""
    from nolabel.api.predict_video import predict_video
    from nolabel.cli.predicting import formats_of, report_predictions, size_of
    from nolabel.engine.devices import pick_device
    from nolabel.engine.predicting import PredictionOptions
    from nolabel.methods.quadmix.video_model import load_video_model

    summary = predict_video(
        load_video_model(model, device=pick_device(device)),
        sources,
        out,
        estimator=estimator,
        formats=formats_of(save),
        options=PredictionOptions(output_size=size_of(size), max_side=max_side),
        fps=fps,
    )
    report_predictions(summary)
