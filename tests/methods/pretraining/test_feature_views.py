"""Views: parts at known places, and points that both show."""

import pytest
import torch

from methods.pretraining.pictures import Pictures
from nolabel.methods.pretraining.feature_heads import sample_cells
from nolabel.methods.pretraining.feature_settings import ColourConfig, CropConfig
from nolabel.methods.pretraining.feature_views import (
    Part,
    ViewsOfImages,
    common_points,
    draw_part,
    hide_blocks,
)

CALM = ColourConfig(jitter=0.0, grey=0.0, blur=(0.0, 0.0, 0.0), solarize=0.0)


@pytest.mark.parametrize("flips", [(False, False), (False, True), (True, True)])
def test_points_show_the_same_places(flips) -> None:
    """Where a picture tells its own coordinates, two views read the same ones at common points."""
    rows, columns = torch.meshgrid(torch.arange(60.0) + 0.5, torch.arange(80.0) + 0.5, indexing="ij")
    image = torch.stack([columns / 80, rows / 60, torch.zeros_like(rows)])
    first, second = Part(5, 10, 40, 40, flips[0]), Part(12, 20, 40, 48, flips[1])
    torch.manual_seed(0)
    points = common_points(first, second, 200)
    views = torch.stack([first.view(image, 40), second.view(image, 40)])
    one, other = sample_cells(views, points)
    inner = (points.abs() < 0.9).all(-1).all(0)  # at a border the outermost pixel's centre counts
    assert inner.sum() > 50
    torch.testing.assert_close(one[inner], other[inner], atol=2e-3, rtol=0)
    assert one[:, 0].std() > 0.05


def test_points_lie_in_both_views() -> None:
    torch.manual_seed(1)
    points = common_points(Part(0, 0, 30, 30), Part(20, 10, 30, 40, True), 500)
    assert points.shape == (2, 500, 2) and points.abs().max() <= 1


def test_parts_have_the_shares_asked_for() -> None:
    torch.manual_seed(0)
    parts = [draw_part((90, 160), (0.2, 0.4), (0.75, 4 / 3), 0.5) for _ in range(200)]
    areas = torch.tensor([p.height * p.width / (90 * 160) for p in parts])
    assert areas.min() > 0.19 and areas.max() < 0.41 and areas.std() > 0.03
    assert all(p.top >= 0 and p.top + p.height <= 90 and p.left + p.width <= 160 for p in parts)
    assert 60 < sum(p.flip for p in parts) < 140
    # Shares that no part of the picture can have at these proportions: the largest square.
    assert draw_part((10, 200), (0.9, 1.0), (0.75, 4 / 3), 0.0) == Part(0, 95, 10, 10)


def test_views_of_a_picture() -> None:
    config = CropConfig(
        size=32, local=3, local_size=16, points=5, overlap=0.5, colour=CALM, hide=0.5, hide_block=8
    )
    torch.manual_seed(0)
    batch = ViewsOfImages(Pictures(), config)[0]
    assert batch.student.shape == batch.teacher.shape == (2, 3, 32, 32)
    assert batch.local.shape == (3, 3, 16, 16) and batch.points.shape == (2, 5, 2)
    assert not torch.equal(batch.student, batch.teacher)  # blocks are hidden from the student alone
    assert batch.student.min() >= 0 and batch.student.max() <= 1


def test_the_teacher_can_see_plain_views() -> None:
    colour = ColourConfig(jitter=0.0, grey=1.0, blur=(0.0, 0.0, 0.0))
    views = {}
    for sees in ("same", "plain"):
        torch.manual_seed(0)
        views[sees] = ViewsOfImages(
            Pictures(), CropConfig(size=16, local=0, teacher_sees=sees, colour=colour)
        )[0]
    assert torch.equal(views["same"].student, views["plain"].student)
    grey = views["same"].teacher
    torch.testing.assert_close(grey[:, 0], grey[:, 1])
    assert (views["plain"].teacher[:, 0] - views["plain"].teacher[:, 1]).abs().max() > 0.01


def test_hidden_blocks_are_of_one_colour() -> None:
    torch.manual_seed(0)
    view = torch.rand(3, 20, 20)
    hidden = hide_blocks(view, 0.5, 8)
    changed = (hidden != view).any(0)
    assert 0.2 < changed.float().mean() < 0.8
    assert torch.equal(hidden[:, changed], view.mean((1, 2))[:, None].expand(3, int(changed.sum())))
    assert hide_blocks(view, 0.0, 8) is view
