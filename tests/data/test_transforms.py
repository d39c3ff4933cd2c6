import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from nolabel.data.transforms import (
    CentreCrop,
    CutOrPad,
    RandomAspectCrop,
    RandomFlip,
    Rescale,
    consecutive_ids,
)
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration


def _sample(height: int = 12, width: int = 20) -> dict[str, object]:
    grid = torch.arange(height * width).reshape(height, width)
    return {
        "name": "a",
        "image": tv_tensors.Image(grid.expand(3, -1, -1) / grid.max()),
        "semantic": tv_tensors.Mask(grid % 200),
        "instance": tv_tensors.Mask(grid),
    }


@given(st.integers(8, 40), st.integers(8, 40), st.floats(0.2, 2))
def test_rescale_samples_with_the_given_factor(height: int, width: int, scale: float) -> None:
    sample = _sample(height, width)
    result = Rescale(scale)(sample)
    image = F.interpolate(
        sample["image"].as_subclass(torch.Tensor)[None], scale_factor=scale, mode="bilinear"
    )
    labels = F.interpolate(
        sample["instance"].as_subclass(torch.Tensor)[None, None].float(), scale_factor=scale, mode="nearest"
    )
    assert torch.equal(result["image"].as_subclass(torch.Tensor), image[0])
    assert torch.equal(result["instance"].as_subclass(torch.Tensor), labels[0, 0].long())
    assert isinstance(result["image"], tv_tensors.Image) and isinstance(result["semantic"], tv_tensors.Mask)


def test_centre_crop_offset_is_floored() -> None:
    sample = _sample() | {"calibration": StereoCalibration(10, 10, 9.5, 5.5, 1)}
    result = CentreCrop((5, 7))(sample)
    assert torch.equal(result["instance"], sample["instance"][3:8, 6:13])
    assert result["calibration"] == StereoCalibration(10, 10, 3.5, 2.5, 1)
    assert result["name"] == "a"
    with pytest.raises(DataError, match="crop of 13x7 does not fit in 12x20"):
        CentreCrop((13, 7))(sample)


def test_cut_or_pad_keeps_the_top_left() -> None:
    sample = _sample()
    result = CutOrPad((8, 24))(sample)
    assert torch.equal(result["image"][:, :, :20], sample["image"][:, :8])
    assert result["image"].shape == (3, 8, 24) and float(result["image"][:, :, 20:].abs().sum()) == 0
    assert set(result["semantic"][:, 20:].flatten().tolist()) == {255}
    assert set(result["instance"][:, 20:].flatten().tolist()) == {0}


@given(st.integers(0, 1000))
def test_random_crop_keeps_aspect_and_joint_alignment(seed: int) -> None:
    height, width = 40, 80
    rows = torch.arange(height).float()[:, None].expand(height, width)
    columns = torch.arange(width).float().expand(height, width)
    sample = {
        "image": tv_tensors.Image(torch.stack([rows, columns, rows])),
        "semantic": tv_tensors.Mask(columns.long()),
    }
    crop = RandomAspectCrop((height, width), generator=torch.Generator().manual_seed(seed))
    result = crop(sample)
    assert result["image"].shape == (3, height, width)
    assert float((result["image"][1] - result["semantic"]).abs().max()) <= 1
    covered = [float(result["image"][k].max() - result["image"][k].min()) + 1 for k in (0, 1)]
    shares = (covered[0] / height, covered[1] / width)
    assert abs(shares[0] - shares[1]) < 0.06 and 0.78 < shares[1] <= 1  # sides of sqrt(0.7)..1
    again = RandomAspectCrop((height, width), generator=torch.Generator().manual_seed(seed))(sample)
    assert torch.equal(again["image"], result["image"])


def test_flip_mirrors_everything_or_nothing() -> None:
    sample = _sample()
    result = RandomFlip(1.0)(sample)
    assert torch.equal(result["image"], sample["image"].flip(-1))
    assert torch.equal(result["instance"], sample["instance"].flip(-1))
    assert torch.equal(RandomFlip(0.0)(sample)["image"], sample["image"])
    flip = RandomFlip(0.5, torch.Generator().manual_seed(0))
    flipped = sum(bool(flip(sample)["instance"][0, 0] != 0) for _ in range(200))
    assert 70 < flipped < 130
    with pytest.raises(DataError, match="cannot be mirrored"):
        RandomFlip(1.0)(sample | {"calibration": StereoCalibration(1, 1, 1, 1, 1)})


def test_ids_are_renumbered_and_background_stays() -> None:
    ids = torch.tensor([[7, 0], [300, 7]])
    assert consecutive_ids(ids).tolist() == [[1, 0], [2, 1]]
    full = torch.tensor([[7, 300]])
    assert consecutive_ids(full).tolist() == [[1, 2]]
    assert consecutive_ids(full, reference_compat=True).tolist() == [[0, 1]]


def test_sizes_must_agree() -> None:
    sample = _sample() | {"semantic": tv_tensors.Mask(torch.zeros(12, 19, dtype=torch.long))}
    with pytest.raises(DataError, match="differ in size: 12x19, 12x20"):
        Rescale(0.5)(sample)
