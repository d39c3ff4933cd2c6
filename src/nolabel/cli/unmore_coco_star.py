"""``nolabel unmore coco-star``: COCO's labels and additional ones as one evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["coco_star"]


def coco_star(
    coco: Annotated[Path, typer.Option(help="COCO's labels (instances_val2017.json).")],
    extra: Annotated[
        Path, typer.Option(help="Additional objects of the same images: COCO file, masks or boxes.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new label files.")],
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Masks for boxes drawn by hand, found by the id of the annotation: COCO file, or folder of ID.png."
        ),
    ] = None,
) -> None:
    """Join additional labels with COCO's, with classes and without: how COCO* was made.

    Masks for drawn boxes may come from any tool (the original took SAM, which has learnt from human masks).
    """
    from nolabel.data.files import read_json
    from nolabel.methods.unmore.coco_star import (
        category_statistics,
        masks_for_boxes,
        masks_of_file,
        merge_labels,
        without_classes,
    )
    from nolabel.structures.files import write_json

    added = read_json(extra)
    if masks is not None:
        added = masks_for_boxes(added, masks_of_file(masks))
    merged = merge_labels(read_json(coco), added)
    files = {
        "COCO_star_val2017.json": merged,
        "COCO_star_val2017_cls_agnostic.json": without_classes(merged),
        "category_stats.json": category_statistics(merged),
    }
    for name, content in files.items():
        typer.echo(f"{write_json(out / name, content)}")
