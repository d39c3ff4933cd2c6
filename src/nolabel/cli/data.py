"""``nolabel doctor``, ``nolabel datasets`` and ``nolabel export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["datasets", "doctor", "export"]


def doctor(
    path: Annotated[Path, typer.Argument(help="A folder of data, an image or a video.")],
    space: Annotated[
        str | None, typer.Option(help="Label space of the label maps, e.g. cityscapes_19.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Calibration file of a stereo folder without calibration.yaml.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to look at; the first one by default.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of a labelled data set, where it is not recognised (gta5).")
    ] = None,
    clips: Annotated[
        bool,
        typer.Option("--clips", help="Check labelled images as video, too: frames before each other, flow."),
    ] = False,
    flow: Annotated[Path | None, typer.Option(help="Folder of flow files of the clips.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Files of each kind to decode; 0 decodes all.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check data before hours are spent on it; leaves with code 1 when there are problems."""
    import json as json_module

    from nolabel.data import doctor as check

    report = check(
        path,
        space=space,
        calibration=calibration,
        split=split,
        dataset=dataset,
        clips=clips,
        flow=flow,
        sample=sample or None,
    )
    typer.echo(json_module.dumps(report.to_dict(), indent=2) if json else report.text())
    if not report.ok:
        raise typer.Exit(1)


def datasets(
    root: Annotated[Path | None, typer.Option(help="Also show which of them lie in this folder.")] = None,
) -> None:
    """List the data sets that are known: task, layout, licence, where to get them."""
    from nolabel.data import catalogue, found_in

    if root is None:
        for known in catalogue():
            complete = ", ".join(f"{count} {name}" for name, count in known.counts.items())
            typer.echo(f"{known.name}  [{known.task}]  nolabel.data.{known.reader}")
            typer.echo(f"    files    {known.layout}")
            typer.echo(f"    licence  {known.licence}")
            typer.echo(f"    get it   {known.source}" + (f"  (complete: {complete})" if complete else ""))
        return
    found = found_in(root)
    for folder, known, counts in found:
        shown = [
            f"{name} {count}" + (f" of {known.counts[name]}" if name in known.counts else "")
            for name, count in counts.items()
        ]
        typer.echo(f"{folder}: {known.name}: {', '.join(shown)}")
    if not found:
        typer.echo(f"no known data set in {root} or its subfolders; `nolabel datasets` shows the layouts")


def export(
    labels: Annotated[Path, typer.Argument(help="Folder of `cups pseudo-label` or `cups predict`.")],
    out: Annotated[Path, typer.Argument(help="Folder of the result.")],
    save: Annotated[
        str,
        typer.Option(
            help="What to write, separated by commas: coco, instances, cityscapes, labels, overlay, gallery.",
            metavar="KIND,...",
        ),
    ] = "coco",
    split: Annotated[str, typer.Option(help="Split in the names of Cityscapes' folders.")] = "train",
) -> None:
    """Write pseudo-labels or predictions as other trainers read them: COCO panoptic, COCO detection, Cityscapes."""
    from nolabel.methods.cups.export import export_labels

    kinds = [kind.strip() for kind in save.split(",") if kind.strip()]
    written = export_labels(labels, out, kinds, split=split)
    typer.echo(f"files in {out}: {', '.join(f'{count} {kind}' for kind, count in written.items())}")
