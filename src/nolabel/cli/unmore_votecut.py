"""``nolabel unmore votecut``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
            help="embedded (no weights), dino_s16, dino_b16, dino_s8, dino_b8, dinov2_s14, dinov2_b14 or a timm "
            "model; once for each network."
        ),
    ] = None,
    feature_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of each network but embedded, in the same order."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe, e.g. unmore/maskcut; its section votecut counts.")
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
    from nolabel.config import load_config
    from nolabel.methods.unmore.pseudo_masks import make_pseudo_masks
    from nolabel.methods.unmore.votecut_settings import PseudoMaskConfig, named_features

    values = {} if method is None else {"method": method}
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
