"""The buffer of neighbourhoods, surface samples and dropout of stage 2."""

import pytest
import torch

from nolabel.methods.scenedino.semantic_buffers import NeighbourhoodBuffer, mean_features
from nolabel.methods.scenedino.semantic_learner import (
    Neighbourhoods,
    SemanticLearner,
    draw_masks,
    unit_features,
)
from nolabel.methods.scenedino.surface_sampling import choose_surface_pixels, draw_surface, sample_surface
from nolabel.models.rendering import FieldSample, Rays
from nolabel.models.scenedino import SemanticHead


def some_features(count, seed=0, samples=3, channels=6):
    generator = torch.Generator().manual_seed(seed)
    return unit_features(torch.randn(count, samples, channels, generator=generator))


def test_the_buffer_forgets_the_oldest() -> None:
    buffer, parts = NeighbourhoodBuffer(5, 3, 6), [some_features(2, seed) for seed in range(4)]
    for part in parts[:3]:
        buffer.add(part)
    assert len(buffer) == 5 and buffer.position == 1
    order = [(2, 1), (0, 1), (1, 0), (1, 1), (2, 0)]
    for slot, (part, place) in enumerate(order):
        assert torch.equal(buffer.features[slot], parts[part][place])
    assert torch.allclose(buffer.means, mean_features(buffer.features))
    many = some_features(7, 9)
    buffer.add(many)
    assert torch.equal(buffer.features, many[2:]) and buffer.position == 0 and len(buffer) == 5
    buffer.add(many[:0])
    assert buffer.position == 0


def test_similar_ones_are_others() -> None:
    buffer = NeighbourhoodBuffer(8, 3, 6)
    own = some_features(5)
    means = buffer.add(own)
    for choice in range(4):
        slots = buffer.similar(means, torch.full((5,), choice), candidates=4)
        assert not (slots == torch.arange(5)).any() and (slots < 5).all()
    # The original also finds slots that were never written.
    compat = NeighbourhoodBuffer(8, 3, 6, reference_compat=True)
    lonely = compat.add(own[:1])
    assert compat.similar(lonely, torch.tensor([0])) > 0
    alone = NeighbourhoodBuffer(8, 3, 6)
    assert alone.similar(alone.add(own[:1]), torch.tensor([2])).tolist() == [0]


def test_the_buffer_goes_on() -> None:
    one, other = NeighbourhoodBuffer(5, 3, 6), NeighbourhoodBuffer(5, 3, 6)
    for seed in range(3):
        one.add(some_features(2, seed))
    other.load_state_dict(one.state_dict())
    for buffer in (one, other):
        buffer.add(some_features(2, 7))
    assert torch.equal(one.features, other.features) and one.state_dict()["position"] == other.position


def test_pixels_lie_in_their_interval_of_depth() -> None:
    depth = torch.rand(2, 400, generator=torch.Generator().manual_seed(0)) * 90 + 3
    depth[0, :50] = 150.0
    places = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    pixels, there = choose_surface_pixels(depth, places)
    assert there.all()
    for scene in range(2):
        near = depth[scene][depth[scene] < 100]
        borders = near.quantile(torch.linspace(0, 1, 6))
        chosen = depth[scene, pixels[scene]]
        assert ((chosen > borders[:-1]) & (chosen < borders[1:])).all()
    flat, found = choose_surface_pixels(torch.full((1, 30), 7.0), places[:1])
    assert not found.any() and flat.shape == (1, 5)
    beyond = choose_surface_pixels(torch.full((1, 30), 170.0), places[:1])
    assert not beyond[1].any()


class Slab:
    """Matter below the plane y = 0, whose features are the points themselves."""

    def query(self, points, *, features=True, colour=False):
        return FieldSample(2.0 * (points[..., 1] > 0), points)


def test_samples_are_matter_around_the_surface() -> None:
    directions = torch.nn.functional.normalize(torch.rand(2, 200, 3) - 0.5, dim=-1)
    directions[..., 1] = 0
    depth = torch.rand(2, 200) * 50 + 3
    rays = Rays(torch.zeros(2, 200, 3), directions, depth, depth)
    found = sample_surface(Slab(), rays, depth, draw_surface(2, 16), radius=0.5)
    assert len(found.features) == 10 and found.features.shape[1:] == (16, 3)
    assert (found.density > 0.5).all() and (found.features[..., 1] > 0).all()
    assert ((found.features - found.centres[:, None]).norm(dim=-1) <= 0.5 + 1e-4).all()
    assert found.scenes.tolist() == [0] * 5 + [1] * 5
    rays.origins[1, :, 1] = -3  # the second scene's surface hangs in the air: nothing but air around it
    found = sample_surface(Slab(), rays, depth, draw_surface(2, 16), radius=0.5)
    assert found.scenes.tolist() == [0] * 5


def test_clusters_and_probes_do_not_teach_the_code() -> None:
    head = SemanticHead(6, 4, 5, 3)
    learner = SemanticLearner(head)
    own = some_features(4)
    seen = Neighbourhoods(own, own, own.flip(0), own.roll(1, 0))
    rendered, labels = some_features(2, 3, samples=20), torch.randint(3, (2, 20))
    masks = draw_masks((4, 3), 2, 6, 4, 0.5, torch.Generator().manual_seed(0))
    learner(None, rendered, labels, masks)["loss"].backward()
    assert all(parameter.grad is None for parameter in head.code.parameters())
    assert all(parameter.grad is not None for parameter in head.code_probe.parameters())
    losses = learner(seen, rendered, None, masks)
    assert set(losses) == {"loss", "own", "neighbour", "random", "direct_clusters", "code_clusters"}
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in head.code.parameters())
    void = learner(None, rendered, torch.full((2, 20), 255))
    assert float(void["code_probe"]) == 0.0 and torch.isfinite(void["loss"])


@pytest.mark.parametrize("reference_compat", [False, True])
def test_dropout_drops_whole_channels(reference_compat) -> None:
    masks = draw_masks(
        (40, 3), 2, 6, 4, 0.25, torch.Generator().manual_seed(0), reference_compat=reference_compat
    )
    assert masks.own[0].shape == (40, 1, 4)
    assert masks.random[1].shape == ((1, 3, 4) if reference_compat else (40, 1, 4))
    assert sorted(masks.own[0].unique().tolist()) == pytest.approx([0.0, 4 / 3])
