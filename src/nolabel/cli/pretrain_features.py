"""``nolabel pretrain features`` and ``evaluate-features``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nolabel.cli.options import Device, Overrides, Overwrite, RunFolder, Seed

if TYPE_CHECKING:
    from nolabel.data.labelled import LabelledDataset

Labelled = Annotated[
    Path,
    typer.Option(help="Labelled pictures (Cityscapes layout, CamVid, own folders, ...)."),
]
Learned = Annotated[
    str, typer.Option("--reference-split", help="Split whose labelled cells the probes learn from.")
]
Scored = Annotated[str, typer.Option(help="Split that they are scored on.")]


def features(
    data: Annotated[
        list[Path],
        typer.Option(help="Pictures without labels: a folder, data set, list or video; several times."),
    ],
    out: RunFolder,
    settings: Overrides = None,
    validate: Annotated[
        Path | None,
        typer.Option(
            "--validate",
            help="Labelled pictures on which k-NN and a linear probe score the features during training "
            "(fit.validate_every) and at its end. Nothing is learned from them but the probes.",
        ),
    ] = None,
    reference_split: Learned = "train",
    split: Scored = "val",
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Packaged recipe (pretrain/features, pretrain/features_tiny) or YAML file; DINO's settings by default.",
        ),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Learn features from pictures alone by self-distillation (DINO); the same command again goes on."""
    from nolabel.config import load_config
    from nolabel.methods.pretraining.feature_images import open_pictures, what_to_expect
    from nolabel.methods.pretraining.feature_settings import FeaturePretrainingConfig
    from nolabel.methods.pretraining.feature_training import pretrain_features

    given = [*(settings or ()), *(() if seed is None else (f"fit.seed={seed}",))]
    config = load_config(FeaturePretrainingConfig, recipe, given)
    probed = None if validate is None else _probed(validate, reference_split, split)
    images, fit = open_pictures(data, config.images), config.fit
    batch = fit.batch_size * fit.accumulate * fit.devices * fit.nodes
    typer.echo(what_to_expect(len(images), fit.steps, batch), err=True)  # type: ignore[arg-type]
    trained = pretrain_features(config, images, out, probed=probed, device=device, overwrite=overwrite)
    typer.echo(", ".join(f"{name} {value:.3f}" for name, value in trained.metrics.items()))
    if trained.warning:
        typer.echo(f"warning: {trained.warning}")
    typer.echo(f"network: {trained.model}")
    typer.echo(f"next: nolabel pretrain evaluate-features --features {out} --data LABELLED")


def evaluate_features(
    data: Labelled,
    names: Annotated[
        list[str],
        typer.Option(
            "--features",
            help="embedded, descriptors, a run folder or file of `pretrain features`, dino, or a timm model; several times.",
        ),
    ],
    weights: Annotated[
        list[Path] | None, typer.Option(help="Files of dino or timm models among them, in the same order.")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Also with random weights, each network that has any.")
    ] = False,
    bare: Annotated[
        bool,
        typer.Option("--bare", help="Also pretrained networks alone, where descriptors go beside them."),
    ] = False,
    scale: Annotated[float, typer.Option(help="timm models: images are resized by this first.")] = 1.0,
    reference_split: Learned = "train",
    split: Scored = "val",
    references: Annotated[int, typer.Option(min=1, help="Pictures that the probes learn from.")] = 30,
    queries: Annotated[int, typer.Option(min=1, help="Pictures that they are scored on.")] = 30,
    cells: Annotated[int, typer.Option(min=1, help="Labelled cells of each reference picture.")] = 200,
    neighbours: Annotated[int, typer.Option(min=1, help="k of k-NN.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="JSON file of the scores, IoU of each class included.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of cells and of random weights.")] = 0,
    device: Device = "auto",
) -> None:
    """Score features of any kind on labelled pictures: mean IoU of k nearest neighbours and of a linear probe."""
    from nolabel.engine.devices import pick_device
    from nolabel.engine.feature_probes import ProbeSettings, compare_features
    from nolabel.structures.files import write_json

    settings = ProbeSettings(references, queries, cells, neighbours, seed)
    learned, scored = _probed(data, reference_split, split)
    found = compare_features(
        names,
        learned,
        scored,
        settings,
        weights=weights or (),
        random=random,
        bare=bare,
        scale=scale,
        device=pick_device(device),
    )
    typer.echo(
        f"{'features':32s} {'k-NN mIoU':>10s} {'linear mIoU':>12s} {'k-NN acc.':>10s} {'lin. acc.':>10s}"
    )
    for name, scores in found.items():
        values = scores.values()
        typer.echo(
            f"{name[-32:]:32s} {values['knn_miou']:10.1%} {values['linear_miou']:12.1%} "
            f"{values['knn_accuracy']:10.1%} {values['linear_accuracy']:10.1%}"
        )
    if out is not None:
        write_json(out, {name: scores.card() for name, scores in found.items()})
        typer.echo(f"scores: {out}")


def _probed(data: Path, reference_split: str, split: str) -> tuple[LabelledDataset, LabelledDataset]:
    from nolabel.data.labelled_opening import open_labels

    return open_labels(data, split=reference_split), open_labels(data, split=split)
