"""``nolabel cotrain self-train``, ``co-train`` and ``label``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nolabel.cli.options import Device, Overrides, Recipe, Seed, SourceData, TargetData, ValidationData

DeviceB = Annotated[
    str | None, typer.Option(help="Device of network B; with --parallel and two GPUs the second one.")
]
Parallel = Annotated[
    bool, typer.Option("--parallel", help="Both networks at once, each in a process; results are the same.")
]
Out = Annotated[Path, typer.Option(help="The stage's folder; the same command again goes on in it.")]


def self_train(
    start: Annotated[str, typer.Option(help="Run folder or file of the network to start from.")],
    out: Out,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "auto",
    only_labels: Annotated[
        bool,
        typer.Option(
            "--only-labels", help="Stop where the next cycle would train: pseudo-labels and no more."
        ),
    ] = False,
) -> None:
    """Let a network learn from its own surest labels, cycle after cycle (settings: self_training.*)."""
    from nolabel.methods.cotraining.opening import load_settings
    from nolabel.methods.cotraining.self_training import self_train as run
    from nolabel.methods.cotraining.stage_data import open_branches

    config = load_settings(
        recipe, settings, source=source, target=target, validation=validate, seed=seed, device=device
    )
    (branch,) = open_branches(config, [config.self_training.training], out, [(start, config.device)])
    networks = run(branch, out, config.self_training, only_labels=only_labels)
    if only_labels:
        folder = out / f"cycle_{len(networks):02d}"
        typer.echo(f"labels: {folder / 'pseudo_labels'}    chosen: {folder / 'selection'}")
        return
    typer.echo(f"networks: {networks[0]} ... {networks[-1]}")
    typer.echo(
        f"next: nolabel cotrain co-train --a {networks[0].parent} --b {networks[-1].parent} --out co_training"
    )


def co_train(
    a: Annotated[
        str, typer.Option(help="Network A: run folder or file (published: first self-training cycle).")
    ],
    b: Annotated[str, typer.Option(help="Network B (published: last self-training cycle).")],
    out: Out,
    settings: Overrides = None,
    source: SourceData = None,
    target: TargetData = None,
    validate: ValidationData = None,
    recipe: Recipe = None,
    seed: Seed = None,
    device: Device = "auto",
    device_b: DeviceB = None,
    parallel: Parallel = False,
) -> None:
    """Let two networks learn from each other's labels (settings: co_training.*)."""
    from nolabel.methods.cotraining.co_training import co_train as run
    from nolabel.methods.cotraining.opening import load_settings
    from nolabel.methods.cotraining.stage_data import open_branches

    config = load_settings(
        recipe, settings, source=source, target=target, validation=validate, seed=seed, device=device
    ).with_branches(device_b, parallel)
    loop = config.co_training
    trainings = [loop.training] if loop.training_b is None else [loop.training, loop.training_b]
    starts = list(zip((a, b), config.branch_devices(), strict=True))
    branches = open_branches(config, trainings, out, starts)
    last = run(branches, out, loop, parallel=config.parallel)[-1]
    typer.echo(f"networks: {last[0]} {last[1]}")
    typer.echo(f"next: nolabel cotrain label --a {last[0].parent} --b {last[1].parent} --out final_labels")


def label(
    a: Annotated[str, typer.Option(help="Network: run folder or file.")],
    out: Out,
    settings: Overrides = None,
    b: Annotated[
        str | None, typer.Option(help="Second network; each pixel takes the surer one's label.")
    ] = None,
    target: TargetData = None,
    thresholds_a: Annotated[
        Path | None, typer.Option(help="thresholds.npy of A; default: that of its cycle.")
    ] = None,
    thresholds_b: Annotated[Path | None, typer.Option(help="The same of B.")] = None,
    recipe: Recipe = None,
    device: Device = "auto",
    executor: Annotated[str, typer.Option(help="inline, processes or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Processes or Ray actors.")] = 1,
) -> None:
    """Label all target images with one network or two (settings: final_labels.*)."""
    from nolabel.engine.segmentor_file import model_path
    from nolabel.methods.cotraining.final_stage import find_thresholds, make_final_labels
    from nolabel.methods.cotraining.opening import load_settings, target_of

    config = load_settings(recipe, settings, target=target, device=device)
    models = [model_path(name) for name in (a, b) if name is not None]
    given = [thresholds_a, thresholds_b][: len(models)]
    limits = []
    if config.final_labels.thresholds == "least":
        limits = [find_thresholds(model, path) for model, path in zip(models, given, strict=True)]
    make_final_labels(
        models,
        limits,
        target_of(config),
        out,
        config.final_labels,
        device=config.device,
        executor=executor,
        workers=workers,
    )
    typer.echo(
        f"labels: {out}    next: nolabel cotrain train-final --labels {out} --start baseline --out final"
    )
