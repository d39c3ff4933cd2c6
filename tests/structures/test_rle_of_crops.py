"""Masks that are encoded from a part of the image are those of the whole."""

import pytest
import torch

from nolabel.structures.rle import encode_crop, encode_masks


@pytest.mark.parametrize("fill", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    "part", [(0, 0, 7, 9), (0, 3, 7, 2), (2, 4, 3, 5), (6, 8, 1, 1), (3, 0, 4, 9), (0, 0, 1, 9), (1, 1, 0, 0)]
)
def test_the_same_bytes(fill, part):
    top, left, height, width = part
    generator = torch.Generator().manual_seed(int(10 * fill))
    mask = torch.rand(height, width, generator=generator) < fill
    whole = torch.zeros(7, 9, dtype=torch.bool)
    whole[top : top + height, left : left + width] = mask
    (expected,) = encode_masks(whole[None])
    assert encode_crop(mask, top, left, (7, 9)) == expected
