"""RealEstate10K, and street images cut to SceneDINO's view."""

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.data.driving_views import DrivingViews, cut_to_view
from nolabel.data.own_labels import FolderLabelled
from nolabel.data.realestate import RealEstateViews, covering_crop
from nolabel.errors import DataError
from nolabel.geometry import PinholeCamera, invert, normalised_intrinsics, transform


def test_an_image_is_scaled_until_it_covers_and_cut_in_the_middle():
    wide, tall = covering_crop((100, 300), (50, 100)), covering_crop((300, 100), (50, 100))
    assert (wide.resized, wide.top, wide.left) == ((50, 150), 0, 25)
    assert (tall.resized, tall.top, tall.left) == ((300, 100), 125, 0)
    assert covering_crop((50, 100), (50, 100)).resized == (50, 100)
    assert wide(torch.rand(3, 100, 300)).shape == (3, 50, 100)


def test_the_cut_is_part_of_the_camera():
    crop, camera = covering_crop((100, 300), (50, 100)), torch.tensor([0.5, 1.5, 0.5, 0.5])
    matrix = crop.intrinsics(camera)
    # The same ray in the whole image and in the cut: 0.5 * 150 = 75 pixels of 150, 25 of them cut away.
    assert matrix[0, 0] == pytest.approx(2 * 75 / 100) and matrix[0, 2] == pytest.approx(0)
    assert crop.intrinsics(camera, reference_compat=True)[0, 0] == pytest.approx(1.0)


def test_realestate_clips(tmp_path):
    lines, frames = ["https://example.org/clip"], tmp_path / "frames_720" / "train" / "clip"
    frames.mkdir(parents=True)
    (tmp_path / "train").mkdir()
    for n in range(12):
        pose = " ".join(str(v) for v in (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, -0.1 * n))
        lines.append(f"{1000 * n} 0.6 1.0 0.5 0.5 0 0 {pose}")
        Image.fromarray(np.full((36, 64, 3), 10 * n, np.uint8)).save(frames / f"{n}.jpg")
    (tmp_path / "train" / "clip.txt").write_text("\n".join(lines) + "\n")
    views = RealEstateViews(tmp_path, size=(36, 64))
    assert len(views) == 2
    sample = views[0]
    assert sample.frame_ids == (0, 3, 6, 9) and views[1].frame_ids == (10, 11, 11, 11)
    torch.testing.assert_close(sample.poses[1, :3, 3], torch.tensor([0.0, 0.0, 0.3]))
    torch.testing.assert_close(
        normalised_intrinsics(sample.intrinsics[0], 36, 64),
        torch.tensor([[1.2, 0, 0], [0, 2, 0], [0, 0, 1.0]]),
    )
    points = transform(invert(sample.poses[1]), torch.tensor([[0.0, 0.0, 4.3]]))
    pixel, depth = PinholeCamera(sample.intrinsics[1]).project(points)
    assert depth.item() == pytest.approx(4.0) and pixel[0, 0] == pytest.approx(31.5)
    (frames / "3.jpg").unlink()
    with pytest.raises(DataError, match="1 frames are missing"):
        RealEstateViews(tmp_path, size=(36, 64))


def test_street_images_keep_their_middle_rows(tmp_path):
    image = torch.randint(0, 256, (3, 90, 160), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.arange(90)[:, None].expand(90, 160) // 10
    seen, kept = cut_to_view(image, labels, (24, 80))
    assert seen.shape == (3, 24, 80) and kept.shape == (24, 80)
    assert kept[0, 0] == 1 and kept[-1, 0] == 7  # rows 8 to 32 of 40
    for folder, array in (
        ("images", image.permute(1, 2, 0).numpy()),
        ("labels", labels.numpy().astype(np.uint8)),
    ):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / folder / "0.png")
    sample = DrivingViews(FolderLabelled(tmp_path, "cityscapes_19"), (24, 80))[0]
    assert torch.equal(sample.images[0], seen) and torch.equal(sample.labels, kept)
    torch.testing.assert_close(normalised_intrinsics(sample.intrinsics[0], 24, 80), torch.eye(3))
