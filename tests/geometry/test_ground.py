import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry.ground import fit_ground

HEIGHT, WIDTH = 96, 192
MATRIX = torch.tensor([[200.0, 0.0, 95.5], [0.0, 200.0, 47.5], [0.0, 0.0, 1.0]])
BASELINE = 0.5


def ground_disparity(height: float, pitch: float, roll: float) -> torch.Tensor:
    """Disparity of the plane n . X = height, straight from its rays; 0 above the horizon."""
    normal = torch.tensor(
        [math.sin(roll), math.cos(pitch) * math.cos(roll), math.sin(pitch)], dtype=torch.float64
    )
    normal = normal / normal.norm()
    v, u = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    rays = torch.stack([(u - 95.5) / 200, (v - 47.5) / 200, torch.ones_like(u)], dim=-1)
    depth = height / (rays @ normal)
    return torch.where(depth > 0, 200 * BASELINE / depth, 0.0).clamp(min=0).float()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 4.0), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_height_and_tilt_of_an_exact_plane(height: float, pitch: float, roll: float) -> None:
    disparity = ground_disparity(height, pitch, roll)
    plane = fit_ground(disparity, disparity > 0, MATRIX, BASELINE)
    assert plane is not None
    assert plane.height == pytest.approx(height, rel=0.01)
    assert plane.pitch == pytest.approx(pitch, abs=0.01)
    assert plane.roll == pytest.approx(roll, abs=0.02)


def test_height_follows_the_baseline_and_tilt_the_principal_point() -> None:
    disparity = ground_disparity(1.5, 0.0, 0.0)
    known = disparity > 0
    doubled = fit_ground(disparity, known, MATRIX, 2 * BASELINE)
    assert doubled is not None and doubled.height == pytest.approx(3.0, rel=0.01)
    low = MATRIX.clone()
    low[1, 2] += 40
    tilted = fit_ground(disparity, known, low, BASELINE)
    assert tilted is not None and tilted.pitch == pytest.approx(math.atan(40 / 200), abs=0.01)


def test_a_wall_is_no_ground() -> None:
    wall = torch.full((HEIGHT, WIDTH), 10.0)
    assert fit_ground(wall, wall > 0, MATRIX, BASELINE) is None
    assert fit_ground(wall, wall < 0, MATRIX, BASELINE) is None
