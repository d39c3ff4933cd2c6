"""Voxel grids: centres, indices and counts agree."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry import VoxelGrid

grids = st.builds(
    VoxelGrid,
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.floats(0.05, 2),
    st.tuples(*[st.integers(1, 6)] * 3),
)


@settings(max_examples=50, deadline=None)
@given(grids)
def test_the_centre_of_a_cell_lies_in_it(grid: VoxelGrid) -> None:
    index, inside = grid.index_of(grid.centres(torch.float64))
    axes = [torch.arange(count) for count in grid.shape]
    assert bool(inside.all())
    assert torch.equal(index, torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))
    flat, _ = grid.flat_index_of(grid.centres(torch.float64))
    assert torch.equal(flat.flatten(), torch.arange(grid.num_voxels))


@settings(max_examples=50, deadline=None)
@given(grids, st.integers(0, 999))
def test_a_point_is_within_half_a_cell_of_its_centre(grid: VoxelGrid, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor(grid.shape, dtype=torch.float64) * grid.voxel_size
    points = torch.tensor(grid.origin, dtype=torch.float64) + extent * torch.rand(
        40, 3, generator=generator, dtype=torch.float64
    )
    index, inside = grid.index_of(points)
    centres = grid.centres(torch.float64)[tuple(index.T)]
    assert float((points - centres)[inside].abs().max()) <= grid.voxel_size / 2 + 1e-9
    assert int(grid.count(points).sum()) == int(inside.sum())


def test_sscbench_grid_by_hand() -> None:
    grid = VoxelGrid((0.0, -25.6, -2.0), 0.2, (256, 256, 32))
    assert torch.allclose(grid.centres()[0, 0, 0], torch.tensor([0.1, -25.5, -1.9]))
    assert torch.allclose(grid.centres()[255, 255, 31], torch.tensor([51.1, 25.5, 4.3]))


def test_outside_is_said_and_still_indexable() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (2, 3, 4))
    points = torch.tensor([[-0.1, 0, 0], [2.0, 0, 0], [1.99, 2.99, 3.99], [math.nan, 0, 0], [math.inf, 0, 0]])
    index, inside = grid.index_of(points)
    assert inside.tolist() == [False, False, True, False, False]
    assert index[2].tolist() == [1, 2, 3]
    assert bool((index >= 0).all()) and bool((index < torch.tensor(grid.shape)).all())


def test_count() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (2, 2, 2))
    counts = grid.count(torch.tensor([[0.5, 0.5, 0.5], [0.1, 0.9, 0.2], [1.5, 0.5, 1.5], [9.0, 9, 9]]))
    assert counts[0, 0, 0] == 2 and counts[1, 0, 1] == 1 and int(counts.sum()) == 3


def test_a_grid_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="voxel size"):
        VoxelGrid((0.0, 0.0, 0.0), 0.0, (2, 2, 2))
