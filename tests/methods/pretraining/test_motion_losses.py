"""What a training of motion minimises: least at the truth, for pairs whose motion is known."""

import pytest
import torch

from nolabel.geometry import backward_warp, forward_backward_visible
from nolabel.methods.pretraining.motion_data import MotionSample, collate_motion
from nolabel.methods.pretraining.motion_losses import (
    partnered,
    photometric_loss,
    sequence_loss,
    smoothness_loss,
    teacher_loss,
    upright_loss,
)
from nolabel.methods.pretraining.motion_settings import MotionAugmentationConfig, MotionLossConfig
from nolabel.methods.pretraining.motion_synthesis import move_pictures
from nolabel.methods.pretraining.motion_views import change_colours, mirror_scenes, pair_views

CONFIG = MotionLossConfig(census=5)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def shifted():
    """A stereo sample: 4 pixels of disparity, 8 pixels of motion to the right and 2 down; 160 x 192."""
    wide = torch.nn.functional.interpolate(noise(1, 3, 60, 80), scale_factor=4, mode="bicubic").clamp(0, 1)[0]

    def seen(right, down):
        return wide[:, 20 - down : 180 - down, 40 - right : 232 - right]

    return MotionSample(torch.stack([seen(0, 0), seen(-4, 0), seen(8, 2), seen(4, 2)]))


def truth(batch):
    """The flow (P, 2, 1, 1) of each pair of the sample."""
    over_time = torch.tensor([[8.0, 2], [-8, -2], [8, 2], [-8, -2]])
    stereo = torch.tensor([[-4.0, 0], [4, 0], [-4, 0], [4, 0]])
    return torch.cat([over_time, stereo])[:, :, None, None]


def test_pairs_lead_there_and_back(shifted) -> None:
    single = MotionSample(shifted.images[[0, 2]])
    batch = collate_motion([single, shifted])
    assert len(batch.images) == 6 and batch.sample.tolist() == [0, 0, 1, 1, 1, 1]
    assert torch.equal(batch.reverse[batch.reverse], torch.arange(10))
    assert torch.equal(batch.first[batch.reverse], batch.second)
    assert torch.equal(batch.sideways[batch.reverse], -batch.sideways)
    assert batch.sideways.tolist() == [0, 0, 0, 0, 0, 0, -1, 1, -1, 1]


def test_photometric_loss_is_least_at_the_truth(shifted) -> None:
    batch = collate_motion([shifted])
    _, views = pair_views(batch, (128, 128), generator(3))
    flow = truth(batch).expand(-1, -1, 128, 128)
    least = photometric_loss(views, flow, None, CONFIG)
    for wrong in (flow + torch.tensor([1.0, 0])[:, None, None], 0 * flow, -flow):
        assert photometric_loss(views, wrong, None, CONFIG) > 1.5 * least
    # At half resolution as well: the cut's place, the flow and the images fit together.
    small, halved = views.halved(), flow[..., ::2, ::2] / 2
    least = photometric_loss(small, halved, None, CONFIG)
    assert photometric_loss(small, halved + torch.tensor([1.0, 0])[:, None, None], None, CONFIG) > 1.5 * least


def test_gradients_lead_towards_the_truth(shifted) -> None:
    batch = collate_motion([shifted])
    _, views = pair_views(batch, (128, 128), generator(3))
    flow = (truth(batch) + torch.tensor([0.6, 0])[:, None, None]).expand(-1, -1, 128, 128)
    flow = flow.clone().requires_grad_()
    photometric_loss(views, flow, None, CONFIG).backward()
    assert (flow.grad[:, 0].mean(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize("method", ["consistency", "range_map"])
def test_pixels_that_leave_the_crop_keep_their_partner(shifted, method) -> None:
    batch = collate_motion([shifted])
    _, views = pair_views(batch, (128, 128), generator(3))
    flow = truth(batch).expand(-1, -1, 128, 128)
    assert partnered(views, flow, method).float().mean() > 0.98
    wrong = flow.clone()
    wrong[0, :, 40:60, 40:60] += 20.0
    assert not partnered(views, wrong, "consistency")[0, 0, 42:58, 42:58].any()


def test_smoothness_and_sequence() -> None:
    flow = torch.zeros(1, 2, 16, 16)
    flow[..., 8:] = 4.0
    grey = torch.full((1, 3, 16, 16), 0.5)
    edge = grey.clone()
    edge[..., 8:] = 1.0
    assert smoothness_loss(grey, flow, CONFIG) > 0
    assert smoothness_loss(edge, flow, CONFIG) < 1e-6
    weights = sequence_loss([flow] * 3, lambda _, last: torch.tensor(10.0 if last else 1.0), 0.5)
    assert float(weights) == 10 + 0.5 + 0.25


def test_stereo_views_must_move_along_the_rows() -> None:
    flow = torch.tensor([[-3.0, 0.5], [-3.0, 0.5], [2.0, 1.0]])[:, :, None, None].expand(-1, -1, 4, 4)
    found = upright_loss(flow, torch.tensor([-1, 0, -1]))
    assert float(found) == pytest.approx((0.5 + 0 + 3.0) / 3)  # the last goes 2 pixels the wrong way


def test_teacher_counts_where_it_is_trusted() -> None:
    flow, taught = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    trusted = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    trusted[..., :2] = True
    assert float(teacher_loss(flow, taught, trusted)) == 1.0


def test_mirrored_scenes_keep_their_geometry(shifted) -> None:
    batch = collate_motion([shifted, MotionSample(shifted.images[[0, 2]])])
    kinds = set()
    for seed in range(12):
        mirrored = mirror_scenes(batch, generator(seed))
        across = not torch.equal(mirrored.sideways, batch.sideways)
        down = torch.equal(mirrored.images[0].flip(-2), batch.images[0])
        kinds.add(across)
        assert not down  # a stereo sample is never turned upside down
        flow = truth(collate_motion([shifted])) * torch.tensor([-1.0 if across else 1.0, 1.0])[:, None, None]
        way = mirrored.sideways[:8]
        assert (flow[:, 0, 0, 0] * way >= 0).all() and torch.equal(way != 0, batch.sideways[:8] != 0)
        fetched, inside = backward_warp(mirrored.images[mirrored.second[:8]], flow.expand(-1, -1, 160, 192))
        assert ((fetched - mirrored.images[mirrored.first[:8]]).abs() * inside).mean() < 0.01
    assert kinds == {True, False}


@pytest.mark.parametrize("sideways", [0.0, 1.0])
def test_moved_pictures_have_the_flow_they_say(sideways) -> None:
    pictures = torch.nn.functional.interpolate(noise(3, 3, 20, 24), scale_factor=8, mode="bicubic").clamp(
        0, 1
    )
    corner = torch.tensor([[0, 0], [16, 8], [40, 24]])
    moved = move_pictures(
        pictures, corner, (128, 136), pieces=3, largest=20.0, sideways=sideways, generator=generator(1)
    )
    assert moved.images.shape == (6, 3, 128, 136) and moved.flow.shape == (6, 2, 128, 136)
    there, back = moved.flow.chunk(2)
    first, second = moved.images.chunk(2)
    for flow, opposite, one, other in ((there, back, first, second), (back, there, second, first)):
        seen = forward_backward_visible(flow, opposite)
        fetched, _ = backward_warp(other, flow)
        still = ((one - other).abs() * seen).sum() / seen.sum()
        assert 0.6 < seen.float().mean() < 1
        assert ((one - fetched).abs() * seen).sum() / seen.sum() < 0.15 * still
    vertical = moved.flow[:, 1].abs().max()
    assert vertical < 1e-3 if sideways else vertical > 1
    again = move_pictures(
        pictures, corner, (128, 136), pieces=3, largest=20.0, sideways=sideways, generator=generator(1)
    )
    assert torch.equal(again.images, moved.images)


def test_colours_change_alike_within_a_sample(shifted) -> None:
    batch = collate_motion([shifted, shifted])
    config = MotionAugmentationConfig(own=0.0, noise=0.0)
    changed = change_colours(batch.images, batch.sample, config, generator(4))
    assert not torch.allclose(changed[0], batch.images[0], atol=0.01)
    assert not torch.allclose(changed[0], changed[4], atol=0.01)
    # A point of the scene has one colour in all images of its sample: the right view is 4 pixels further.
    assert torch.allclose(changed[0][:, :, 4:], changed[1][:, :, :-4], atol=0.02)
