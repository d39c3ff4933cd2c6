"""Rendering: an analytic field, the plain renderer, and the fast one against it."""

import pytest
import torch

from nolabel.geometry import VoxelGrid
from nolabel.models.rendering import (
    FieldSample,
    Occupancy,
    Rays,
    RenderSettings,
    image_rays,
    render,
    render_fast,
)


class Wall:
    """Opaque, and blue, beyond z = 10 m; remembers how much it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def query(self, points, *, features=True, colour=False):
        self.asked += points.shape[1]
        density = torch.where(points[..., 2] > 10, 50.0, 0.0).to(points)
        blue = points.new_tensor([0.0, 0.0, 1.0]).expand(*points.shape[:2], 1, 3)
        hidden_from = points[..., :1] > 0
        return FieldSample(
            density,
            points if features else None,
            blue if colour else None,
            hidden_from if colour else None,
        )


def rays_of(height=6, width=8):
    matrix = torch.tensor([[8.0, 0, 3.5], [0, 8.0, 2.5], [0, 0, 1]]).expand(1, 1, 3, 3)
    return image_rays(matrix, torch.eye(4).expand(1, 1, 4, 4), height, width)


def test_a_wall_is_where_it_is():
    rays = rays_of()
    settings = RenderSettings(samples=256, hard_cap=False)
    seen = render(Wall(), rays, settings, colour=True)
    z = seen.depth * rays.directions[..., 2]
    assert ((z > 9.9) & (z < 10.6)).all()
    torch.testing.assert_close(seen.weights.sum(-1), torch.ones_like(seen.depth))
    torch.testing.assert_close(seen.colour[0, :, 0, 2], torch.ones(48))
    torch.testing.assert_close(seen.features, rays.directions * seen.depth[..., None])
    assert seen.invalid.shape == (1, 48, 256, 1)


@pytest.mark.parametrize("jitter", ["middles", "drawn"])
def test_the_fast_renderer_sees_the_same(jitter):
    rays, settings = rays_of(), RenderSettings(samples=30, chunk=500)
    draws = None if jitter == "middles" else torch.Generator().manual_seed(1)
    plain = render(Wall(), rays, settings, draws, colour=True)
    draws = None if draws is None else torch.Generator().manual_seed(1)
    fast = render_fast(Wall(), rays, settings, draws, colour=True)
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(fast, name), value)


def test_rays_end_at_the_wall():
    rays, settings = rays_of(), RenderSettings(samples=80)
    wall, whole = Wall(), render(Wall(), rays, settings, colour=True)
    fast = render_fast(wall, rays, settings, colour=True, stop_below=1e-4)
    assert wall.asked < 0.9 * 80 * 48
    torch.testing.assert_close(fast.depth, whole.depth, rtol=0, atol=1e-4 * 80)
    torch.testing.assert_close(fast.features, whole.features, rtol=0, atol=0.01)
    left_out = fast.alphas == 0
    assert fast.invalid[left_out & (whole.alphas > 0)].all()


def test_empty_space_is_skipped():
    rays, settings = rays_of(), RenderSettings(samples=40)
    wall, whole = Wall(), render(Wall(), rays, settings, colour=True)
    grid = VoxelGrid((-20.0, -20.0, 0.0), 1.0, (40, 40, 12))
    occupancy = Occupancy.of_field(Wall(), grid, torch.eye(4))
    assert not occupancy.may_hold(torch.tensor([0.0, 0.0, 5.0])) and occupancy.may_hold(
        torch.tensor([0, 0, 10.5])
    )
    fast = render_fast(wall, rays, settings, colour=True, occupancy=occupancy)
    assert wall.asked < 0.6 * 40 * 48
    torch.testing.assert_close(fast.depth, whole.depth)
    torch.testing.assert_close(fast.features, whole.features)
    torch.testing.assert_close(fast.alphas, whole.alphas)


def test_fine_samples_lie_about_the_wall():
    rays = rays_of()
    coarse = render(Wall(), rays, RenderSettings(samples=16), torch.Generator().manual_seed(0))
    settings = RenderSettings(samples=16, fine=24, fine_depth=8, depth_spread=0.2)
    fine = render(Wall(), rays, settings, torch.Generator().manual_seed(0))
    assert fine.distances.shape[-1] == 40 and (fine.distances.diff(dim=-1) >= 0).all()
    truth = 10 / rays.directions[..., 2]
    assert (fine.depth - truth).abs().mean() < (coarse.depth - truth).abs().mean()


def test_without_a_cap_nothing_is_seen_of_nothing():
    rays = Rays(*(torch.zeros(1, 2, 3), torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])), *torch.ones(2, 1, 2))
    rays = Rays(rays.origins, rays.directions, 3 * rays.near, 80 * rays.far)
    assert render(Wall(), rays, RenderSettings(hard_cap=False)).depth.abs().max() == 0
    capped = render(Wall(), rays, RenderSettings(hard_cap=True))
    torch.testing.assert_close(capped.depth, capped.distances[..., -1])
