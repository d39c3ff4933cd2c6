"""Warping: exact shifts, linear interpolation, borders, validity and the original's quirk."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry import backward_warp, pixel_grid, sample

SIZE = (7, 9)
shift = st.integers(-11, 11)


def constant_flow(dx: float, dy: float, height: int = SIZE[0], width: int = SIZE[1]) -> torch.Tensor:
    return torch.tensor([dx, dy]).reshape(1, 2, 1, 1).expand(1, 2, height, width)


def image_of(seed: int, height: int = SIZE[0], width: int = SIZE[1]) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def shifted(image: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """The exact shift with zeros outside, by slicing."""
    height, width = image.shape[-2:]
    result = torch.zeros_like(image)
    rows = [r for r in range(height) if 0 <= r + dy < height]
    columns = [c for c in range(width) if 0 <= c + dx < width]
    for r in rows:
        for c in columns:
            result[..., r, c] = image[..., r + dy, c + dx]
    return result


def test_pixel_grid_counts_columns_then_rows() -> None:
    grid = pixel_grid(2, 3)
    assert grid.tolist() == [[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]]


@settings(max_examples=30, deadline=None)
@given(shift, shift, st.sampled_from(["bilinear", "nearest"]), st.integers(0, 99))
def test_integer_flow_is_an_exact_shift(dx: int, dy: int, mode: str, seed: int) -> None:
    image = image_of(seed)
    warped, inside = backward_warp(image, constant_flow(dx, dy), mode)
    assert torch.equal(warped, shifted(image, dx, dy))
    assert torch.equal(inside.float(), shifted(torch.ones_like(image[:, :1]), dx, dy))


def test_integer_flow_is_exact_on_wide_images() -> None:
    image = image_of(0, 3, 4096)
    warped, _ = backward_warp(image, constant_flow(-7, 0, 3, 4096))
    assert torch.equal(warped[..., 7:], image[..., :-7])


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_bilinear_sampling_is_exact_on_a_plane(dx: float, dy: float) -> None:
    u, v = pixel_grid(*SIZE, dtype=torch.float64)
    plane = (2 * u - 3 * v + 1)[None, None]
    warped, inside = backward_warp(plane, constant_flow(dx, dy).double())
    truth = plane + 2 * dx - 3 * dy
    assert torch.allclose(warped[inside], truth[inside], atol=1e-5)
    assert bool(inside.any())


def test_border_padding_repeats_the_outer_pixels() -> None:
    image = image_of(1)
    warped, inside = backward_warp(image, constant_flow(100, -100), padding_mode="border")
    assert torch.equal(warped, image[..., :1, -1:].expand_as(image)) and not bool(inside.any())


def test_halfway_outside_fades_to_zero_and_is_not_inside() -> None:
    image = torch.ones(1, 1, *SIZE)
    warped, inside = backward_warp(image, constant_flow(-0.5, 0))
    assert warped[0, 0, 0, 0] == 0.5 and not bool(inside[..., 0].any()) and bool(inside[..., 1:].all())
    _, near = backward_warp(image, constant_flow(-0.4, 0), "nearest")
    assert bool(near.all())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("compat", [False, True])
def test_flow_that_is_not_finite_is_outside(value: float, compat: bool) -> None:
    warped, inside = backward_warp(image_of(2), constant_flow(value, 0.0), reference_compat=compat)
    assert not bool(inside.any()) and bool((warped == 0).all())


def test_nearest_keeps_integer_labels() -> None:
    labels = torch.randint(0, 1000, (1, 1, *SIZE), generator=torch.Generator().manual_seed(0))
    warped, _ = backward_warp(labels, constant_flow(1.2, 0.3), "nearest")
    assert warped.dtype == torch.long and torch.equal(warped, shifted(labels, 1, 0))


def test_reference_positions_are_stretched_and_offset() -> None:
    height, width = 8, 16
    u, v = pixel_grid(height, width, dtype=torch.float64)
    warped, inside = backward_warp(
        torch.stack([u, v])[None], torch.zeros(1, 2, height, width).double(), reference_compat=True
    )
    columns = torch.arange(width, dtype=torch.float64) * width / (width - 1) - 0.5
    assert torch.allclose(warped[0, 0, 3, 1:-1], columns[1:-1])
    # The outer pixels sample half a pixel outside: they are not valid.
    assert not bool(inside[0, 0, 0].any()) and not bool(inside[0, 0, :, -1].any())
    assert bool(inside[0, 0, 1:-1, 1:-1].all())


def test_half_precision_positions_do_not_lose_pixels() -> None:
    image = image_of(3, 2, 1024)
    flow = torch.zeros(1, 2, 2, 1024, dtype=torch.bfloat16)
    flow[:, 0] = 1
    warped, _ = backward_warp(image.bfloat16(), flow)
    assert warped.dtype == torch.bfloat16
    assert torch.equal(warped[..., :-1], image.bfloat16()[..., 1:])


def test_gradients_reach_image_and_flow() -> None:
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(1, 2, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 5, 6, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, f: backward_warp(i, f)[0], (image, flow))


def test_sample_reads_other_grids() -> None:
    image = pixel_grid(6, 6)[None]
    values, inside = sample(image, torch.tensor([2.5, 1.25]).reshape(1, 2, 1, 1))
    assert values.flatten().tolist() == [2.5, 1.25] and bool(inside.all())
