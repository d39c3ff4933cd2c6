"""``nolabel pretrain motion`` and ``evaluate-motion``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides, Overwrite, RunFolder, Seed


def motion(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Footage without labels; once for each source: stereo video (Cityscapes, KITTI raw, left/ and right/), a "
            "video file, a folder of consecutive frames.",
        ),
    ],
    out: RunFolder,
    settings: Overrides = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            "--validate",
            help="Stereo video to score on during training; with exact motion where it has a folder motion/.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Of the validation data, where it has splits.")] = "val",
    recipe: Annotated[
        str | None,
        typer.Option(help="Packaged recipe (pretrain/motion_tiny) or YAML file; published settings without."),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Learn optical flow and stereo from footage without labels; the same command again goes on."""
    from nolabel.engine.fit_config import load_training
    from nolabel.methods.pretraining.motion_data import open_footage
    from nolabel.methods.pretraining.motion_settings import MotionTrainingConfig
    from nolabel.methods.pretraining.motion_training import motion_outlook, train_motion

    config = load_training(MotionTrainingConfig, "motion", recipe, settings, seed)
    footage = open_footage(
        data, region=config.data.region, gap=config.data.frame_gap, split=config.data.split
    )
    for line in motion_outlook(footage, config):
        typer.echo(line, err=True)
    trained = train_motion(
        config, footage, out, looked_at=validate or (), split=split, device=device, overwrite=overwrite
    )
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in trained.metrics.items())
    typer.echo(numbers or "not scored")
    typer.echo(f"network: {trained.model}")
    typer.echo(f"next: nolabel pretrain evaluate-motion --data DATA --motion learnt --weights {out}")


def evaluate_motion(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Stereo video; once for each. Exact motion is used where `nolabel world --motion` wrote it.",
        ),
    ],
    motion: Annotated[
        str,
        typer.Option(
            help="embedded, opencv (DIS and SGBM), learnt (with --weights), raft_small, raft_smurf, raft_large, or none: "
            "nothing moves."
        ),
    ] = "opencv",
    weights: Annotated[
        Path | None, typer.Option(help="Run folder of pretrain motion, or a network's checkpoint.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of data that has splits.")] = "val",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Pairs of frames of each, evenly spaced; all by default.")
    ] = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Recurrent updates of a network; its own number by default.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor by which images are resized before.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
    device: Device = "auto",
) -> None:
    """End-point error and outliers of flow, errors of disparity, and how alike images are along the motion."""
    from nolabel.engine.devices import pick_device
    from nolabel.engine.motion_estimators import open_estimator
    from nolabel.methods.pretraining.motion_evaluation import NoMotion, evaluate_motion, scores_table
    from nolabel.structures.files import write_json

    place = pick_device(device)
    estimator = NoMotion() if motion == "none" else open_estimator(motion, place, weights, updates=updates)
    scores = evaluate_motion(estimator, data, split=split, scale=scale, limit=limit, device=place)
    typer.echo(scores_table(scores))
    if out is not None:
        write_json(out, {"motion": motion, "scores": {name: s.record() for name, s in scores.items()}})
        typer.echo(f"numbers: {out}")
