"""One picture of what several segmentation networks say of the same images.

    PYTHONPATH=src python benchmarks/compare_networks.py dusk.jpg --images camvid/images/train/0001TP \
        baseline=run/baseline final=run/final

Rows are images, evenly drawn from a folder or a labelled data set (``--data``, which adds the truth); columns are networks:
``NAME=PLACE`` with a run folder, ``model.safetensors`` or an official checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from nolabel import viz
from nolabel.data.labelled_opening import open_labels
from nolabel.data.unlabelled import open_unlabelled
from nolabel.engine.network_scoring import label_image
from nolabel.engine.segmentor_file import load_model
from nolabel.structures.files import atomic_path

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="folder of images")
    source.add_argument("--data", type=Path, help="labelled data set")
    parser.add_argument("--dataset")
    parser.add_argument("--split", default="val")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--width", type=int, default=320, help="of a cell, in pixels")
    parser.add_argument("networks", nargs="+", metavar="NAME=PLACE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = {}
    for text in arguments.networks:
        name, place = text.split("=", 1)
        models[name] = load_model(place)
        models[name].network.eval()
    space = next(iter(models.values())).space
    if arguments.data is not None:
        labelled = open_labels(arguments.data, arguments.dataset, arguments.split, space=space)
        count = len(labelled)
    else:
        images = open_unlabelled(arguments.images)
        count = len(images)
    rows = []
    for index in torch.linspace(0, count - 1, arguments.rows).round().long().tolist():
        sample = labelled[index] if arguments.data is not None else images[index]
        image = torch.as_tensor(sample["image"])
        maps = [label_image(model, image) for model in models.values()]
        if arguments.data is not None:
            maps.insert(0, labelled.read_labels(index))
        rows.append([viz.to_picture(image), *(viz.semantic_overlay(image, labels, space) for labels in maps)])
    titles = ["image", *(["truth"] if arguments.data is not None else []), *models]
    sheet = viz.contact_sheet(rows, column_titles=titles, cell_width=arguments.width)
    with atomic_path(arguments.out) as temporary:
        Image.fromarray(sheet).save(temporary, FORMATS[arguments.out.suffix.lower()], quality=88)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
