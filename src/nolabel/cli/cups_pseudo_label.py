"""``nolabel cups pseudo-label``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pseudo_label(
    data: Annotated[
        Path, typer.Option(help="Stereo video: a folder with left/ right/, or a known data set.")
    ],
    out: Annotated[Path, typer.Option(help="Label folder; the same command again goes on.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Any setting, e.g. crf.scale=0.5.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Calibration file, where the data folder has none.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Size factor of images; default: 1, Cityscapes 0.625 as published.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of a Cityscapes data set.")] = "train",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe, e.g. cups/tiny; its section pseudo_labels counts.")
    ] = None,
    motion: Annotated[
        str | None,
        typer.Option(
            help="opencv, embedded, learnt (of pretrain motion), raft_smurf, raft_large, raft_small or files."
        ),
    ] = None,
    motion_folder: Annotated[
        Path | None, typer.Option(help="Precomputed flow and disparity, instead of --motion.")
    ] = None,
    motion_cache: Annotated[
        Path | None, typer.Option(help="Keep computed flow and disparity here for later runs.")
    ] = None,
    motion_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder of the motion network.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="embedded, descriptors, learnt (of pretrain features), depthg, or a timm model."),
    ] = None,
    feature_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder of the features.")
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of pseudo classes.")] = None,
    executor: Annotated[str, typer.Option(help="inline, processes or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Processes or Ray actors.")] = 1,
    shard: Annotated[str | None, typer.Option(help="Label one part only: 2/8.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; an accelerator if there is one.")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Draw all stages of every n-th pair; 0: none.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace labels made with other settings.")] = False,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Only say how many, how long and how large; two pairs are tried."),
    ] = False,
) -> None:
    """Make panoptic pseudo-labels from stereo video, without any human label."""
    from nolabel.config import load_config
    from nolabel.data import open_stereo_video
    from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
    from nolabel.methods.cups.pseudo_labels import estimate_pseudo_labels, generate_pseudo_labels

    chosen = {
        "motion.name": "files" if motion is None and motion_folder is not None else motion,
        "motion.folder": motion_folder,
        "motion.cache": motion_cache,
        "motion.weights": motion_weights,
        "semantics.features": features,
        "semantics.weights": feature_weights,
        "semantics.clusters": clusters,
    }
    overrides = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    config = load_config(
        PseudoLabelConfig,
        recipe,
        [*overrides, *(settings or [])],
        section="pseudo_labels",
    )
    # A chosen size replaces the published crop of the layout as well.
    options = {} if scale is None else {"scale": scale, "crop": None}
    video = open_stereo_video(data, split=split, calibration=calibration, **options)
    if estimate:
        typer.echo(estimate_pseudo_labels(video, out, config, device=device))
        return
    summary = generate_pseudo_labels(
        video,
        out,
        config,
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
        shard=shard,
        device=device,
        pictures=pictures,
        overwrite=overwrite,
    )
    if summary.labelling.failed:
        raise typer.Exit(1)
