"""``nolabel labels``: small jobs on labelled data sets and folders of label maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Count, choose, convert, colour and merge label maps.")

Data = Annotated[Path, typer.Argument(help="Labelled data set, images/ and labels/, or a list of images.")]
Dataset = Annotated[str | None, typer.Option(help="Layout of DATA, where it is not recognised (gta5).")]
Split = Annotated[str | None, typer.Option(help="Part of the data set; train by default.")]
Space = Annotated[str, typer.Option(help="Label space: cityscapes_19, camvid_11, ...")]
Listed = Annotated[Path | None, typer.Option("--labels", help="List of label maps, where DATA is a list.")]
Maps = Annotated[Path, typer.Argument(help="Folder of label maps (PNG), or one with labels/ in it.")]
Out = Annotated[Path, typer.Option(help="Folder of the results.")]
Classes = Annotated[str | None, typer.Option(help="Names or numbers, separated by commas.")]


@app.command()
def statistics(
    data: Data,
    out: Out,
    dataset: Dataset = None,
    split: Split = None,
    space: Space = "cityscapes_19",
    labels: Listed = None,
    indexed: Annotated[
        bool, typer.Option("--indexed", help="Positions in samples_with_class.json, as Co-Training has it.")
    ] = False,
    priors: Annotated[
        str | None,
        typer.Option(metavar="HEIGHTxWIDTH", help="Also priors.npy: where each class is, at this size."),
    ] = None,
    sigma: Annotated[float, typer.Option(help="Blur of the priors, in pixels (original: 70).")] = 0.0,
) -> None:
    """Count the pixels of every class in every image: the two files of rare-class sampling, and class priors."""
    import io

    import numpy as np
    import torch

    from nolabel.cli.predicting import size_of
    from nolabel.data.class_statistics import class_statistics
    from nolabel.data.domains import LabelledEntry
    from nolabel.data.resizing import resize_labels
    from nolabel.data.void_labels import void_as_label
    from nolabel.engine.progress import Progress
    from nolabel.methods.cotraining.priors import class_priors
    from nolabel.structures.files import write_bytes

    opened = LabelledEntry(data=data, dataset=dataset, split=split, labels=labels).open(space)
    with Progress("counting classes", len(opened), unit="label maps") as bar:
        counted = class_statistics(opened, advance=bar.advance)
    counted.write(out, indexed=indexed)
    size, classes = size_of(priors), opened.space.num_classes
    if size is not None:
        maps = (
            resize_labels(void_as_label(opened.read_labels(i), classes), size) for i in range(len(opened))
        )
        content = io.BytesIO()
        np.save(content, class_priors(maps, classes + 1, sigma).numpy())
        write_bytes(out / "priors.npy", content.getvalue())
    total = counted.pixels.sum(0)
    shares = 100 * total / total.sum().clamp(min=1)
    images = (counted.pixels > 0).sum(0)
    typer.echo(f"{'class':<18}{'% pixels':>10}{'images':>8}")
    for label in torch.argsort(total, descending=True).tolist():
        typer.echo(f"{opened.space.names[label]:<18}{shares[label]:>10.3f}{images[label]:>8}")
    typer.echo(f"results: {out}")


@app.command("filter")
def choose(
    data: Data,
    out: Out,
    dataset: Dataset = None,
    split: Split = None,
    space: Space = "cityscapes_19",
    labels: Listed = None,
    classes: Classes = None,
    min_pixels: Annotated[int, typer.Option(help="More than so many pixels of the class.")] = 0,
    every: Annotated[bool, typer.Option("--every", help="All of the classes, not one of them.")] = False,
    aspect: Annotated[
        float | None, typer.Option(help="Width over height, +- 0.01 (Mapillary: 1.33).")
    ] = None,
    least: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Smallest size.")] = None,
) -> None:
    """List the images that hold classes, or have a shape: images.txt and labels.txt, one path a line."""
    from nolabel.cli.predicting import size_of
    from nolabel.data.class_statistics import class_statistics
    from nolabel.data.domains import LabelledEntry
    from nolabel.data.label_tools import class_ids, has_shape, images_with_classes
    from nolabel.errors import DataError
    from nolabel.structures.files import write_bytes

    opened = LabelledEntry(data=data, dataset=dataset, split=split, labels=labels).open(space)
    records = list(opened.records)
    if classes is not None:
        wanted = class_ids([name.strip() for name in classes.split(",")], opened.space)
        found = images_with_classes(class_statistics(opened), wanted, min_pixels, every=every)
        records = [records[index] for index in found]
    size = size_of(least) or (0, 0)
    records = [record for record in records if has_shape(record.image, aspect=aspect, least=size)]
    if not records:
        raise DataError(f"none of the {len(opened)} images is like this", hint="ask for less")
    for name, paths in (("images", [r.image for r in records]), ("labels", [r.label for r in records])):
        write_bytes(out / f"{name}.txt", "".join(f"{path.absolute()}\n" for path in paths).encode())
    typer.echo(f"{len(records)} of {len(opened)} images: {out / 'images.txt'}, {out / 'labels.txt'}")


@app.command("ego-mask")
def ego_mask(
    data: Data,
    out: Annotated[Path, typer.Option(help="The picture: white where the camera's own car is.")],
    dataset: Dataset = None,
    split: Split = None,
    raw_id: Annotated[int, typer.Option(help="Raw id of the own car; 1 is Cityscapes'.")] = 1,
) -> None:
    """Join the pixels of the camera's own car over all label maps to one mask, for ``mask`` in settings."""
    import numpy as np
    import torch

    from nolabel.data.domains import LabelledEntry
    from nolabel.methods.cotraining.ego_mask import union_of
    from nolabel.structures.files import write_png

    opened = LabelledEntry(data=data, dataset=dataset, split=split).open()
    mask = union_of((torch.from_numpy(opened.layout.decode(record)[0]) for record in opened.records), raw_id)
    write_png(out, mask.numpy().astype(np.uint8) * 255)
    typer.echo(f"{100 * float(mask.float().mean()):.2f} % of the pixels: {out}")


@app.command()
def convert(
    maps: Maps,
    out: Out,
    space: Space = "cityscapes_19",
    ids_of: Annotated[
        str | None, typer.Option(help="Data set whose raw ids the maps hold (cityscapes, mapillary).")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="File that says what ids or colours mean.")] = None,
    to: Annotated[str | None, typer.Option(help="Label space of the results; --space by default.")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Only these classes (names or numbers, by commas); others become void.")
    ] = None,
    void: Annotated[int, typer.Option(help="Void in the results; 19 is the original Co-Training's.")] = 255,
) -> None:
    """Turn raw ids or colours into labels of a space, between spaces, or down to some classes."""
    import numpy as np

    from nolabel.data.class_mapping import read_mapping
    from nolabel.data.label_tools import class_ids, label_files
    from nolabel.data.labelled import find_space, identity_table, look_up
    from nolabel.data.predicted_labels import PredictedLabels
    from nolabel.labels import VOID, space_map
    from nolabel.structures.files import write_png

    wanted = find_space(to or space)
    if mapping is None:
        own = PredictedLabels(maps, wanted if ids_of else space, raw_ids_of=ids_of)
        table, names = space_map(own.space, wanted).copy(), own.names
        read: Callable[[str], Any] = lambda name: own.read(name).numpy()  # noqa: E731
    else:
        given, files = read_mapping(mapping).in_space(wanted), label_files(maps)
        table, names = identity_table(wanted), list(files)
        read = lambda name: look_up(given.table, given.read(files[name]))  # noqa: E731
    if keep is not None:
        table[~np.isin(table, class_ids([name.strip() for name in keep.split(",")], wanted))] = VOID
    for name in names:
        labels = table[read(name)]
        write_png(
            out / f"{name}.png", np.where(labels == VOID, void, labels).astype(np.uint8), wanted.palette
        )
    typer.echo(f"{len(names)} label maps of {wanted.name}: {out}")


@app.command()
def colour(
    maps: Maps,
    out: Out,
    space: Space = "cityscapes_19",
    images: Annotated[Path | None, typer.Option(help="Show the colours over these images.")] = None,
) -> None:
    """Draw label maps in the colours of their classes, with a legend."""
    import numpy as np

    from nolabel.data import open_images
    from nolabel.data.predicted_labels import PredictedLabels
    from nolabel.structures.files import write_png
    from nolabel.viz import semantic_overlay
    from nolabel.viz.layout import legend

    read = PredictedLabels(maps, space)
    pictures = None if images is None else open_images(images)
    places = {} if pictures is None else {name: i for i, name in enumerate(pictures.names)}
    pixels = np.zeros(256, np.int64)
    for name in read.names:
        labels = read.read(name).numpy()
        pixels += np.bincount(labels.ravel(), minlength=256)
        picture = read.space.palette[labels]
        if pictures is not None and name in places:
            picture = semantic_overlay(pictures[places[name]]["image"], labels, read.space)
        write_png(out / f"{name}.png", picture)
    present = np.flatnonzero(pixels[: read.space.num_classes]).tolist()
    write_png(out / "legend.png", legend(read.space, present))
    typer.echo(f"{len(read.names)} pictures: {out}")


@app.command()
def vote(
    maps: Annotated[list[Path], typer.Argument(help="Folders of label maps with equal names.")],
    out: Out,
    space: Space = "cityscapes_19",
    window: Annotated[int, typer.Option(help="Odd side of the square of pixels that vote.")] = 1,
) -> None:
    """Merge label maps by majority; the first folder decides between equals."""
    import torch

    from nolabel.data.files import examples
    from nolabel.data.label_tools import majority_vote
    from nolabel.data.predicted_labels import PredictedLabels
    from nolabel.errors import ConfigError, DataError
    from nolabel.structures.files import write_png

    if len(maps) < 2:
        raise ConfigError("a vote needs two folders at least")
    readers = [PredictedLabels(folder, space) for folder in maps]
    names = readers[0].names
    for folder, reader in zip(maps[1:], readers[1:], strict=True):
        missing = sorted(set(names) - set(reader.names))
        if missing:
            raise DataError(f"{folder} lacks {len(missing)} maps: {examples(missing)}", hint="equal names")
    for name in names:
        given = torch.stack([reader.read(name) for reader in readers])
        labels = majority_vote(given, readers[0].space.num_classes, window)
        write_png(out / f"{name}.png", labels.numpy(), readers[0].space.palette)
    typer.echo(f"{len(names)} label maps: {out}")
