"""MiT, DAFormer, HRDA and sliding windows: shapes, what is averaged, what is shared, what is learned."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.errors import ConfigError
from nolabel.models.segmentation import Box, EncoderDecoder, SlidingWindow, build_segmentor, sliding_logits
from nolabel.models.segmentation.boxes import crop_box, sliding_boxes
from nolabel.models.segmentation.contract import Segmentor


@pytest.fixture(scope="module")
def hrda():
    torch.manual_seed(0)
    network = build_segmentor("hrda_mit_tiny", 4, detail_size=64, width=8).eval()
    for classifier in (network.head.classifier, network.scale_attention.classifier):
        torch.nn.init.normal_(classifier.weight)  # not all alike, as they are at the start
    return network


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("daformer_mit_tiny", {"width": 8}),
        ("daformer_mit_tiny", {"width": 8, "fusion": "aspp"}),
        ("daformer_mit_tiny", {"width": 8, "fusion": "conv3"}),
        ("hrda_mit_tiny", {"width": 8, "detail_size": 32}),
        ("deeplab_v2_resnet50", {}),
    ],
)
@torch.no_grad()
def test_networks_keep_the_contract(name, options):
    torch.manual_seed(0)
    network = build_segmentor(name, 7, **options).eval()
    for size in ((45, 70), (20, 25)):
        images = torch.rand(2, 3, *size)
        logits = network(images)
        assert logits.shape == (2, 7, *(-(-n // network.stride) for n in size))
        assert network.full_size_logits(images).shape == (2, 7, *size)
        torch.testing.assert_close(network(images[1:]), logits[1:], rtol=1e-3, atol=1e-5)


def test_published_sizes():
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in build_segmentor(name, 19).parameters())
            for name in ("hrda_mit_b5", "hrda_resnet101", "daformer_mit_b5")
        }
        backbone = build_segmentor("daformer_mit_b5", 19).backbone
    assert sum(p.numel() for p in backbone.parameters()) == 81_443_008
    assert sizes["hrda_mit_b5"] == 81_443_008 + 3_712_275 + 530_707
    assert sizes["hrda_resnet101"] == 42_519_392 + 2 * 700_454
    assert sizes["daformer_mit_b5"] == 81_443_008 + 3_712_275


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), st.data())
def test_windows_cover_an_axis_without_leaving_it(length, extent, data):
    stride = data.draw(st.integers(1, extent))
    boxes = sliding_boxes((length, 5), (extent, 5), (stride, 5))
    rows = {row for box in boxes for row in range(box.top, box.bottom)}
    assert rows == set(range(length))
    assert {box.size for box in boxes} == {(min(extent, length), 5)}
    assert all(0 <= b.top - a.top <= stride for a, b in itertools.pairwise(boxes))


def test_crops_are_drawn_on_a_grid_inside():
    generator = torch.Generator().manual_seed(0)
    boxes = [crop_box((100, 48), (32, 48), unit=8, generator=generator) for _ in range(60)]
    assert {box.top for box in boxes} == set(range(0, 64, 8))
    assert {(box.size, box.left) for box in boxes} == {((32, 48), 0)}


@pytest.mark.parametrize("size", [(128, 192), (144, 200), (100, 300)])
@torch.no_grad()
def test_shared_details_change_nothing(hrda, size):
    images, window = torch.rand(1, 3, *size), SlidingWindow((128, 128), (64, 64))
    shared = sliding_logits(hrda, images, window)
    boxes = window.boxes(size)
    total, count = torch.zeros(1, 4, *size), torch.zeros(size)
    for box, logits in zip(boxes, Segmentor.window_logits(hrda, images, boxes), strict=True):
        box.of(total).add_(logits)
        box.of(count).add_(1)
    if size[0] % hrda.context_stride == 0:
        torch.testing.assert_close(shared, total / count, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hrda.full_size_logits(images), shared)


@torch.no_grad()
def test_shared_details_are_computed_once(hrda, monkeypatch):
    looked_at = []
    inside = type(hrda)._detail_logits
    monkeypatch.setattr(
        type(hrda), "_detail_logits", lambda self, x, boxes: looked_at.extend(boxes) or inside(self, x, boxes)
    )
    images = torch.rand(1, 3, 128, 256)
    hrda.full_size_logits(images)  # proportions of 1024 x 2048
    assert len(looked_at) == len(set(looked_at)) == 21


@torch.no_grad()
def test_details_count_only_inside_their_window(hrda):
    images, box = torch.rand(2, 3, 128, 128), Box(16, 80, 40, 104)
    outputs = hrda.training_outputs(images, box)
    changed = images.clone()
    box.of(changed).fill_(0.5)
    cells = box.scaled_down(hrda.stride)
    outside = torch.ones(32, 32, dtype=torch.bool)
    cells.of(outside).fill_(False)
    only_context = hrda._enlarged(outputs.logits["context"])
    # The attention is enlarged, too: it reaches one cell beyond the window, where the detail is zero.
    torch.testing.assert_close(outputs.logits["fused"][..., outside], only_context[..., outside])
    assert not torch.allclose(outputs.logits["fused"][..., ~outside], only_context[..., ~outside])
    assert outputs.logits["detail"].shape == (2, 4, 16, 16)
    assert [f.shape[-1] for f in outputs.features] == [16, 8, 4, 2]
    with pytest.raises(ConfigError, match="detail window"):
        hrda.training_outputs(images)


def test_details_that_fit_no_cells_are_refused():
    with pytest.raises(ConfigError, match="100 pixels"):
        build_segmentor("hrda_mit_tiny", 3, detail_size=100)


def test_a_small_network_learns_two_colours():
    torch.manual_seed(0)
    network = build_segmentor("daformer_mit_tiny", 2, width=32, dropout=0.0, drop_path=0.0).train()
    assert isinstance(network, EncoderDecoder)
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[0, :, 16:] = labels[1, 16:] = 1
    images = torch.where(labels[:, None] == 1, 0.8, 0.2).expand(2, 3, 32, 32)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        logits = network.training_outputs(images, network.draw_box((32, 32))).logits["fused"]
        full = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")
        torch.nn.functional.cross_entropy(full, labels).backward()
        optimizer.step()
    assert (network.eval().full_size_logits(images).argmax(1) == labels).float().mean() > 0.9


@torch.no_grad()
def test_bfloat16_stays_near(hrda):
    images = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits = hrda(images)
    assert logits.dtype == torch.float32
    assert (logits - hrda(images)).abs().max() < 0.1 * hrda(images).abs().max()
