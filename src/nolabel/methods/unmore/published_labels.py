"""Labels that somebody else made, such as the published VoteCut file, for the photographs at hand (spec unmore 2.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nolabel.data.files import image_size, list_images
from nolabel.errors import DataError, NolabelError
from nolabel.methods.unmore.label_files import LABEL_FILE, LabelledImage, read_label_file, write_label_file

__all__ = ["adopt_labels"]


def adopt_labels(photos: str | Path, published: str | Path, out: str | Path) -> tuple[Path, int, int]:
    """Take from a label file what belongs to the photographs of a folder.

    Photographs are found by their path below the folder, or else by their name without folder and suffix (ImageNet's
    names are unique).

    Args:
        photos: folder of photographs.
        published: COCO file of objects; ``weight`` counts as the score where there is none.
        out: label folder; gets ``labels.json``, numbered as the photographs lie in their folder.

    Returns:
        The file, the photographs that have labels and those that have none.

    Raises:
        DataError: no photograph has labels, or labels and photograph differ in size.
    """
    root = Path(photos)
    paths = list_images(root)
    images = read_label_file(published)
    by_path = {image.file_name: image for image in images}
    by_stem = {Path(image.file_name).stem: image for image in images}
    found: list[LabelledImage] = []
    for index, path in enumerate(paths, start=1):
        name = path.relative_to(root).as_posix()
        image = by_path.get(name) or by_stem.get(path.stem)
        if image is not None:
            _check_size(path, image)
            found.append(replace(image, file_name=name, id=index))
    if not found:
        raise DataError(
            f"{published} has labels for none of the {len(paths)} photographs in {root}",
            hint=f"it names pictures like {images[0].file_name}" if images else "it names no picture",
        )
    return write_label_file(Path(out) / LABEL_FILE, found), len(found), len(paths) - len(found)


def _check_size(path: Path, image: LabelledImage) -> None:
    try:
        size = image_size(path)
    except NolabelError:
        return  # whoever reads the pixels will name it
    if size != image.size:
        raise DataError(
            f"{path} is {size[0]} x {size[1]} and its labels are {image.size[0]} x {image.size[1]}",
            hint="labels were made on pictures of another size, or before they were turned upright",
        )
