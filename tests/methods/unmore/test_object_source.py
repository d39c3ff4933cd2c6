"""Objects from label files and PNG folders: which are taken, turned pictures, damaged files."""

import numpy as np
import pytest
import torch
from PIL import Image

from methods.unmore.object_scenes import SIZE, blob, write_scenes
from nolabel.errors import DataError
from nolabel.methods.unmore.object_source import (
    ObjectsConfig,
    fit_mask,
    open_objects,
)
from nolabel.methods.unmore.training_samples import ExistenceSamples, FieldSamples, fixed_samples
from nolabel.methods.unmore.training_settings import TargetConfig


def test_both_kinds_of_labels_give_the_same_samples(tmp_path) -> None:
    images, labels = write_scenes(tmp_path)
    of_file = open_objects(images, labels, ObjectsConfig())
    of_folder = open_objects(images, tmp_path / "masks", ObjectsConfig(), tmp_path / "ids")
    found_beside = open_objects(images, tmp_path, ObjectsConfig())
    assert len(of_file) == len(of_folder) == len(found_beside) == 8
    for number in range(8):
        for source in (of_file, of_folder):
            image, mask, _ = source.read(number)
            assert torch.equal(mask, torch.from_numpy(blob(number))) and image.shape == (3, *SIZE)
    assert bool(of_file.read(0, everything=True)[2][0, 0])  # the other object, which is no sample
    assert not bool(of_folder.read(0, everything=True)[2][0, 0])
    assert open_objects(images, tmp_path / "masks", ObjectsConfig()).read(0, everything=True)[2] is None
    assert of_file.identity == found_beside.identity != of_folder.identity


def test_which_objects_are_samples(tmp_path) -> None:
    images, labels = write_scenes(tmp_path)
    everything = open_objects(images, labels, ObjectsConfig(use="all"))
    assert len(everything) == 16 and list(everything.images)[:4] == [0, 0, 1, 1]
    assert len(open_objects(images, labels, ObjectsConfig(use="all", min_area=60))) == 8
    with pytest.raises(DataError, match="no object of 9999 pixels"):
        open_objects(images, labels, ObjectsConfig(min_area=9999))
    close = open_objects(images, labels, ObjectsConfig(window=1.5))
    image, mask, _ = close.read(0)
    assert image.shape[1:] == mask.shape and mask.shape[1] < SIZE[1] and mask.sum() == blob(0).sum()


def test_learned_and_looked_at_are_apart(tmp_path) -> None:
    images, labels = write_scenes(tmp_path)
    source = open_objects(images, labels, ObjectsConfig(use="all"))
    learned, looked_at = source.split(0.25)
    numbers = [{source.images[i] for i in part} for part in (learned, looked_at)]
    assert not numbers[0] & numbers[1] and len(learned) + len(looked_at) == 16 and len(looked_at) == 4
    assert source.split(0) == (list(range(16)), list(range(16)))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8, 1])
def test_masks_of_turned_pictures(tmp_path, orientation) -> None:
    """A mask of the stored pixels is turned as the picture is."""
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[2:6, 3:20] = 255
    entry = Image.Exif()
    entry[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=entry, quality=95)
    mask = torch.from_numpy(stored[..., 0] > 0)
    if orientation == 1:  # nothing is noted, but the picture was turned: as the original, clockwise
        assert torch.equal(fit_mask(mask, (30, 20), tmp_path / "a.jpg"), mask.rot90(-1))
        with pytest.raises(DataError, match="20 x 30"):
            fit_mask(mask, (31, 20), tmp_path / "a.jpg")
        return
    from nolabel.data.files import read_image

    seen = read_image(tmp_path / "a.jpg")[0] > 0.5
    turned = fit_mask(mask, tuple(seen.shape), tmp_path / "a.jpg")
    assert (turned == seen).float().mean() > 0.97


def test_damaged_pictures_are_named_and_left_out(tmp_path, capsys) -> None:
    images, labels = write_scenes(tmp_path)
    (images / "sub" / "3.png").write_bytes(b"no picture")
    source = open_objects(images, labels, ObjectsConfig())
    samples = fixed_samples(FieldSamples(source, range(8), TargetConfig(size=64, canvas=40)), 8, seed=0)
    assert len(samples) == 8 and capsys.readouterr().err.count("3.png") == 1
    with pytest.raises(DataError):
        FieldSamples(source, [3], TargetConfig(size=64, canvas=40))[0]


def test_samples(tmp_path) -> None:
    images, labels = write_scenes(tmp_path)
    source = open_objects(images, labels, ObjectsConfig())
    field = fixed_samples(FieldSamples(source, range(8), TargetConfig(size=64, canvas=40)), 3, seed=0)
    assert field[0]["image"].shape == (3, 64, 64) and field[0]["mask"].shape == (40, 40)
    again = fixed_samples(FieldSamples(source, range(8), TargetConfig(size=64, canvas=40)), 3, seed=0)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(field, again, strict=True))
    background = fixed_samples(ExistenceSamples(source, range(8), 32, background=1.0), 8, seed=0)
    assert [float(label) for _, label in background] == [0.0] * 8
    assert all(float(crop[0].mean()) < 0.3 for crop, _ in background)  # hardly anything red in it
    mixed = fixed_samples(ExistenceSamples(source, range(8), 32, background=0.0), 16, seed=0)
    assert sum(float(label) for _, label in mixed) >= 8
    # Without the masks of all objects there is no background to be sure of.
    alone = open_objects(images, tmp_path / "masks", ObjectsConfig())
    crops = fixed_samples(ExistenceSamples(alone, range(8), 32, background=1.0), 16, seed=0)
    assert sum(float(label) for _, label in crops) > 0
