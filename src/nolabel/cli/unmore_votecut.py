"""``nolabel unmore votecut`` and ``nolabel unmore masks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def votecut(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs, with any subfolders.")],
    out: Annotated[Path, typer.Option(help="Label folder; the same command again goes on.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Any setting, e.g. cut.tau=0.2.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="votecut (several networks vote) or maskcut (repeated cuts of one network)."),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="embedded, descriptors (no network), dino_s16, dino_b16, dino_s8, dino_b8, dinov2_s14, dinov2_b14 or a "
            "timm model; once for each network."
        ),
    ] = None,
    feature_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of each network but embedded and descriptors, in the same order."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe, e.g. unmore/maskcut; its section votecut counts.")
    ] = None,
    votecut_json: Annotated[
        Path | None,
        typer.Option(help="Take the masks from this published file (any COCO file) instead of finding them."),
    ] = None,
    executor: Annotated[str, typer.Option(help="inline, processes or ray.")] = "inline",
    workers: Annotated[int, typer.Option(help="Processes or Ray actors.")] = 1,
    shard: Annotated[str | None, typer.Option(help="Do one part only: 2/8.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; an accelerator if there is one.")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Draw so many photographs, and a contact sheet.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace labels made with other settings.")] = False,
) -> None:
    """Find the objects of photographs in self-supervised features, without any label: VoteCut, or MaskCut."""
    if votecut_json is not None:
        from nolabel.methods.unmore.published_labels import adopt_labels

        labels, known, unknown = adopt_labels(photos, votecut_json, out)
        typer.echo(f"labels of {known} photographs, {unknown} have none -> {labels}")
        return
    from nolabel.config import load_config
    from nolabel.methods.unmore.pseudo_masks import make_pseudo_masks
    from nolabel.methods.unmore.votecut_settings import PseudoMaskConfig, named_features

    values: dict[str, Any] = {} if method is None else {"method": method}
    if features or feature_weights:
        values["features"] = named_features(features or [], feature_weights or [])
    config = load_config(PseudoMaskConfig, recipe, settings, section="votecut", **values)
    summary = make_pseudo_masks(
        photos,
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


def masks(
    labels: Annotated[Path, typer.Argument(help="Label folder or file.")],
    out: Annotated[Path, typer.Option(help="Folder of the PNGs, laid out as the photographs.")],
    every: Annotated[
        bool,
        typer.Option(
            "--every", help="All objects, numbered from 1; else the best one in one piece, 0 and 255."
        ),
    ] = False,
) -> None:
    """Write the objects of a label file as PNG masks."""
    from nolabel.methods.unmore.label_files import read_label_file
    from nolabel.methods.unmore.top_one import write_instance_masks, write_top_one_masks

    write = write_instance_masks if every else write_top_one_masks
    written = write(read_label_file(labels), out)
    typer.echo(f"{len(written)} masks -> {out}")
