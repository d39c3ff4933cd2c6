from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.data.files import image_size, list_images, natural_key, read_image, read_map
from nolabel.errors import DataError


def test_colour_channels_and_range(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 1] = (255, 128, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 2, 3) and image.dtype == torch.float32
    assert image[:, 0, 1].tolist() == pytest.approx([1.0, 128 / 255, 0.0])
    assert image_size(tmp_path / "a.png") == (2, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png").as_subclass(torch.Tensor), torch.ones(3, 3, 4))


def test_sixteen_bits_keep_their_depth(tmp_path: Path) -> None:
    grey = np.array([[0, 300, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_map(tmp_path / "grey.png"), grey)
    assert read_image(tmp_path / "grey.png")[0, 0, 1] == pytest.approx(300 / 65535)
    rgb = np.array([[[1000, 2, 65535]]], np.uint16)
    cv2.imwrite(str(tmp_path / "rgb.png"), rgb[..., ::-1])
    np.testing.assert_array_equal(read_map(tmp_path / "rgb.png"), rgb)


def test_palette_maps_give_their_index(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 7, 33]], np.uint8), mode="P")
    image.putpalette([255, 0, 0] * 256)
    image.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_map(tmp_path / "labels.png"), [[0, 7, 33]])


def test_camera_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 8, 4)
    assert image_size(tmp_path / "a.jpg") == (8, 4)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    for read in (read_image, read_map):
        with pytest.raises(DataError, match=rf"cut\{suffix}") as error:
            read(path)
        assert "download it again" in str(error.value.hint)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"there is no file .*gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png"):
        read_map(tmp_path / "empty.png")


def test_natural_order_below_a_folder(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.png", "sub/f1.JPG", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == [
        "f2.png",
        "f10.png",
        "sub/f1.JPG",
    ]
    assert sorted(["a10", "a9", "b1", "10", "9"], key=natural_key) == ["9", "10", "a9", "a10", "b1"]
