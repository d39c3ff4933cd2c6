"""Rays, patches and view splits: what belongs together lies together."""

import pytest
import torch

from nolabel.errors import ConfigError
from nolabel.methods.scenedino.ray_samplers import (
    PatchPlaces,
    colours_at,
    draw_grid_shift,
    draw_patch_places,
    draw_pixels,
    patch_cells,
    patch_pixels,
    rays_through,
    shift_grid,
    values_of_cells,
    whole_views,
)
from nolabel.methods.scenedino.views import split_views
from nolabel.models.rendering import Views


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_views(views=3, size=(16, 24)):
    images = torch.rand(2, views, 3, *size, generator=generator())
    intrinsics = torch.tensor([[20.0, 0, 11.0], [0, 21.0, 8.0], [0, 0, 1]]).repeat(2, views, 1, 1)
    poses = torch.eye(4).repeat(2, views, 1, 1)
    poses[..., :3, 3] = torch.rand(2, views, 3, generator=generator(1))
    return Views(images, intrinsics, poses)


@pytest.mark.parametrize("shift", [(0, 0), (3, -4), (-1, 2), (-4, -4)])
def test_a_patch_is_what_its_cell_sees(shift) -> None:
    # The mean of a cell of the moved image is the mean of the patch's pixels in the image itself.
    views, patch = some_views(), 8
    places = draw_patch_places(2, 3, (16, 24), patch, 5, generator(), shifted=True)
    moved = shift_grid(views.images, shift)
    cells = torch.nn.functional.avg_pool2d(moved.flatten(0, 1), patch).unflatten(0, (2, 3))
    pixels = patch_pixels(places, patch, shift).flatten(1, 3)
    numbers = places.views.repeat_interleave(patch * patch, dim=1)
    seen = colours_at(views.images, numbers, pixels).unflatten(1, (5, patch * patch)).mean(dim=2)
    expected = values_of_cells(cells, places.views, *patch_cells(places, shift))
    assert torch.allclose(seen, expected, atol=1e-6)
    assert pixels.min() >= 0 and (pixels < torch.tensor([24, 16])).all()


def test_shifts_are_half_a_patch_at_most() -> None:
    drawn = [draw_grid_shift(8, generator(seed)) for seed in range(200)]
    values = {value for shift in drawn for value in shift}
    assert values == set(range(-4, 4))


def test_rays_of_pixels_are_those_of_the_whole_view() -> None:
    views = some_views()
    whole = whole_views(views, 2.0, 50.0)
    drawn = draw_pixels(2, 3, (16, 24), 40, generator())
    numbers, inside = drawn // (16 * 24), drawn % (16 * 24)
    pixels = torch.stack([inside % 24, inside // 24], dim=-1).float()
    rays = rays_through(views, numbers, pixels, 2.0, 50.0)
    scene = torch.arange(2)[:, None]
    assert torch.allclose(rays.directions, whole.directions[scene, drawn], atol=1e-6)
    assert torch.equal(rays.origins, whole.origins[scene, drawn]) and torch.equal(rays.far, whole.far[:, :40])


def test_colours_beyond_a_border_are_the_borders() -> None:
    views = some_views()
    pixels = torch.tensor([[[-3.0, 5.0], [30.0, 5.0], [4.0, 15.4], [4.0, -0.5]]]).expand(2, -1, -1)
    numbers = torch.tensor([[0, 1, 1, 2]]).expand(2, -1)
    found = colours_at(views.images, numbers, pixels)
    for ray, (view, row, column) in enumerate([(0, 5, 0), (1, 5, 23), (1, 15, 4), (2, 0, 4)]):
        assert torch.allclose(found[:, ray], views.images[:, view, :, row, column])


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        draw_patch_places(1, 1, (8, 24), 8, 1, shifted=True)
    anywhere = draw_patch_places(1, 1, (9, 9), 8, 20, aligned=False)
    assert isinstance(anywhere, PatchPlaces) and set(anywhere.rows.flatten().tolist()) == {0}


@pytest.mark.parametrize("strategy", ["kitti_360", "alternate", "stereo", "single_renderer", "single_loss"])
def test_splits_use_every_view(strategy) -> None:
    seen = set()
    for seed in range(30):
        split = split_views(strategy, 8, generator(seed))
        assert set(split.loss) | set(split.render) == set(range(8))
        if strategy != "single_renderer":
            assert not set(split.loss) & set(split.render)
        seen.add(split)
    assert len(seen) == {"kitti_360": len(seen), "alternate": 2, "stereo": 2}.get(strategy, 1)
    if strategy == "kitti_360":
        assert len(seen) > 10
        assert all(
            {number // 2 for number in s.loss} == {number // 2 for number in s.render} == set(range(4))
            for s in seen
        )


def test_the_original_prefers_the_first_moment() -> None:
    def share(**options):
        drawn = [
            split_views("alternate", 4, generator(seed), **options).loss == (0, 2) for seed in range(600)
        ]
        return sum(drawn) / len(drawn)

    assert share() == pytest.approx(1 / 2, abs=0.07)
    assert share(reference_compat=True) == pytest.approx(2 / 3, abs=0.07)


@pytest.mark.parametrize(("strategy", "views"), [("kitti_360", 3), ("stereo", 6), ("single_loss", 1)])
def test_views_without_partner_are_refused(strategy, views) -> None:
    with pytest.raises(ConfigError):
        split_views(strategy, views)
