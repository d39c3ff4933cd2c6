"""Flow on other grids and in mirrored images: warping must commute with both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry import backward_warp, flip_flow, resize_flow
from nolabel.metrics import TemporalConsistency, moved_labels

side = st.integers(4, 12)
shift = st.floats(-2, 2)


def ramp(height: int, width: int) -> torch.Tensor:
    rows = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
    columns = torch.linspace(0, 1, width, dtype=torch.float64)
    return (3 * rows - 2 * columns)[None, None]


def constant(dx: float, dy: float, height: int, width: int) -> torch.Tensor:
    return torch.tensor([dx, dy], dtype=torch.float64)[None, :, None, None].expand(1, 2, height, width)


@settings(max_examples=30)
@given(side, side, side, side, shift, shift)
def test_resized_flow_moves_a_resized_picture_alike(
    height: int, width: int, rows: int, columns: int, dx: float, dy: float
) -> None:
    flow = constant(dx, dy, height, width)
    moved, inside = backward_warp(ramp(height, width), flow)
    small, kept = backward_warp(ramp(rows, columns), resize_flow(flow, (rows, columns)))
    expected = ramp(rows, columns) + 3 * dy / (height - 1) - 2 * dx / (width - 1)
    torch.testing.assert_close(small[kept], expected[kept])
    torch.testing.assert_close(
        moved[inside], (ramp(height, width) + 3 * dy / (height - 1) - 2 * dx / (width - 1))[inside]
    )


@settings(max_examples=20)
@given(st.integers(0, 99), side, side)
def test_mirrored_flow_moves_a_mirrored_picture_alike(seed: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    flow = 2 * torch.randn(1, 2, height, width, generator=generator, dtype=torch.float64)
    for padding in ("zeros", "border"):
        moved, _ = backward_warp(image, flow, "bilinear", padding)
        mirrored, _ = backward_warp(image.flip(-1), flip_flow(flow), "bilinear", padding)
        torch.testing.assert_close(mirrored.flip(-1), moved)
    assert torch.equal(flip_flow(flow, reference_compat=True), flow.flip(-1))
    assert torch.equal(flip_flow(flip_flow(flow)), flow)


def test_reference_scales_both_components_by_the_height() -> None:
    flow = torch.ones(1, 2, 8, 16)
    compat = resize_flow(flow, (4, 4), reference_compat=True)
    assert torch.equal(compat, torch.full((1, 2, 4, 4), 0.5))
    assert resize_flow(flow, (4, 4))[0, :, 0, 0].tolist() == [
        torch.tensor(3 / 15).item(),
        torch.tensor(3 / 7).item(),
    ]
    assert resize_flow(torch.ones(1, 2, 1, 1), (3, 3)).shape == (1, 2, 3, 3)


def test_halves_go_up() -> None:
    image = torch.arange(4.0)[None, None, None]
    flow = constant(0.5, 0, 1, 4)
    assert backward_warp(image, flow, "nearest_up", "border")[0].flatten().tolist() == [1, 2, 3, 3]
    assert backward_warp(image, flow, "nearest", "border")[0].flatten().tolist() == [0, 2, 2, 3]


def test_consistency_is_one_where_labels_follow_the_motion() -> None:
    previous = torch.randint(0, 3, (1, 6, 8), generator=torch.Generator().manual_seed(0))
    current = F.pad(previous, (2, 0))[..., :8]  # everything moved two pixels to the right
    flow = constant(-2, 0, 6, 8)
    metric = TemporalConsistency(3)
    metric.follow(current, previous, flow)
    assert metric.compute().miou == 1
    assert int(metric.confusion.sum()) == 6 * 6  # what came in from outside is not judged
    hidden = torch.zeros(1, 6, 8, dtype=torch.bool)
    assert bool((moved_labels(previous, flow, hidden) == 255).all())
    wrong = TemporalConsistency(3)
    wrong.follow(current, previous, -flow)
    assert wrong.compute().miou < 0.9
