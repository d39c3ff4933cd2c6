"""The short cuts of SceneDINO's network against what they stand for: values and gradients."""

import dataclasses

import pytest
import torch

from nolabel.geometry import pixel_intrinsics
from nolabel.models.features.vit_maps import VitConfig
from nolabel.models.rendering import Rays, RenderSettings, Views, render, render_fast
from nolabel.models.rendering.occupancy import grown
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig
from nolabel.models.scenedino.dpt_decoder import DptDecoder
from nolabel.models.scenedino.folded_head import FoldedHead
from nolabel.models.scenedino.volume import MATTER, query_volume

TINY = SceneDinoConfig(
    vit=VitConfig(width=64, depth=4, grid=(2, 4), taps=(0, 1, 2)),
    target=None,
    channels=40,
    reassembled=(4, 4, 6, 8),
    decoded=8,
    compact=5,
    hidden=12,
    expansion_hidden=10,
    head=HeadConfig(code=7, clusters=6, classes=4),
)
MODES = ("stego_kmeans", "stego_linear", "direct_kmeans", "direct_linear")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def network_of(**changes):
    return SceneDino(dataclasses.replace(TINY, **changes)).double()


def views_of(scenes=2, views=3):
    matrix = torch.tensor([[0.8, 0.0, 0.0], [0.0, 1.6, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(scenes, views, 1, 1)
    poses[..., 0, 3] = torch.arange(views)
    images = torch.rand(scenes, views, 3, 16, 32, dtype=torch.float64)
    return Views(images, pixel_intrinsics(matrix.expand(scenes, views, 3, 3), 16, 32), poses)


def points_of(scenes=2, count=50):
    return torch.rand(scenes, count, 3, dtype=torch.float64) * torch.tensor([20, 8, 30.0]) - torch.tensor(
        [10, 4, 2.0]
    )


def gradients(network, loss):
    network.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def compare(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("grid", [(2, 4), (3, 5), (1, 1)])
def test_folded_decoder(grid):
    decoder = DptDecoder(10, (3, 4, 5, 6), 6).double()
    maps = [torch.randn(2, 10, *grid, dtype=torch.float64) for _ in range(4)]
    matrix = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    size = (8 * grid[0], 8 * grid[1])
    plain = torch.einsum("of,nfhw->nohw", matrix, decoder(maps, size))
    folded = decoder.folded(maps, matrix, size)
    torch.testing.assert_close(folded, plain)
    probe = torch.randn_like(plain)
    compare(*(gradients(decoder, (x * probe).sum()) for x in (folded, plain)))


@pytest.mark.parametrize("decoder", ["dpt", "bilinear"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_folded_field(decoder, blocks):
    network, views, points = network_of(decoder=decoder, blocks=blocks), views_of(), points_of()
    samples = [
        network.encode(views[:1], views[1:], folded=folded).query(points, colour=True)
        for folded in (True, False)
    ]
    compare(*(vars(sample) for sample in samples))
    probe = torch.randn_like(samples[0].features)
    compare(*(gradients(network, (s.features * probe).sum() + s.density.sum()) for s in samples))


def test_fast_rendering_of_the_folded_field():
    network, views = network_of(), views_of()
    directions = torch.nn.functional.normalize(
        torch.randn(2, 21, 3, dtype=torch.float64) + torch.tensor([0, 0, 3]), dim=-1
    )
    bounds = torch.ones(2, 21, dtype=torch.float64)
    rays = Rays(torch.zeros_like(directions), directions, 3 * bounds, 80 * bounds)
    jitter = torch.rand(2, 21, 9, dtype=torch.float64)
    settings = RenderSettings(samples=9, chunk=100)
    plain = render(network.encode(views[:1], views[1:]), rays, settings, jitter, colour=True)
    field = network.encode(views[:1], views[1:], folded=True)
    fast = render_fast(field, rays, settings, jitter, colour=True)
    compare(vars(fast), vars(plain))
    probe = torch.randn_like(plain.features)
    compare(*(gradients(network, (s.features * probe).sum() + s.depth.sum()) for s in (fast, plain)))
    early = render_fast(field, rays, settings, jitter, colour=True, stop_below=0.01)
    torch.testing.assert_close(early.depth, plain.depth, rtol=0, atol=0.01 * 80)
    alone = render_fast(
        field.scene(1), Rays(*(x[1:] for x in vars(rays).values())), settings, jitter[1:], colour=True
    )
    torch.testing.assert_close(alone.features, plain.features[1:])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("expansion", ["mlp", "orthogonal-linear", "none"])
def test_folded_head(mode, expansion):
    network = network_of(expansion=expansion)
    width = TINY.channels if expansion == "none" else TINY.compact
    features = torch.randn(4, 30, width, dtype=torch.float64, requires_grad=True)
    head = FoldedHead(network.expansion, network.semantic_head, mode)
    assert torch.equal(head(features), network.classify(features, mode))
    if mode.startswith("stego"):
        plain = network.semantic_head.code(network.expansion(features))
        folded = head.code(features)
        torch.testing.assert_close(folded, plain)
        probe = torch.randn_like(plain)
        one, other = (torch.autograd.grad((code * probe).sum(), features)[0] for code in (folded, plain))
        torch.testing.assert_close(one, other)


def test_mirrored_encoding_mirrors_the_map():
    network, views = network_of(), views_of(views=1)
    mirrored = network.encode(views, mirrored=True).map
    torch.testing.assert_close(mirrored, network.encoder(views.images[:, 0].flip(-1)).flip(-1))


@torch.no_grad()
def test_volume_has_classes_where_there_is_matter():
    network, views = network_of(), views_of(1, 1)
    network.point_decoder.last.weight[0] *= 8
    field = network.encode(views, folded=True)
    axes = [torch.linspace(a, b, n, dtype=torch.float64) for a, b, n in ((-9, 9, 7), (-2, 2, 5), (3, 40, 6))]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    density = field.query(centres.reshape(1, -1, 3)).density
    # Three points of a hundred hold matter.
    network.point_decoder.last.bias[0] -= density.expm1().log().quantile(0.97) + 1.5
    everywhere = field.query(centres.reshape(1, -1, 3))
    density, classes = query_volume(field, centres, network.classify, chunk=17)
    torch.testing.assert_close(density, everywhere.density[0].reshape(density.shape))
    matter = grown(density) >= MATTER
    assert matter.any() and not matter.all()
    expected = network.classify(everywhere.features[0]).reshape(density.shape)
    assert torch.equal(classes, torch.where(matter, expected, 0))
    needed = centres[..., 0] > 2
    some, of_some = query_volume(field, centres, network.classify, needed=needed)
    torch.testing.assert_close(some[needed], density[needed])
    assert torch.equal(of_some, torch.where(needed, classes, 0))
