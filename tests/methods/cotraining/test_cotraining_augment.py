"""Augmentation, class mixing and the loss."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from nolabel.data.mixing import listed_classes
from nolabel.data.void_labels import void_as_255, void_as_label
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.errors import DataError
from nolabel.methods.cotraining.augment import (
    AugmentConfig,
    Crop,
    CutOut,
    Resize,
    apply,
    augment,
    crop_start,
    cut_out,
)
from nolabel.methods.cotraining.batches import collate, mixed_batch
from nolabel.methods.cotraining.class_crop import ClassCrop
from nolabel.methods.cotraining.class_mix import classes_on_demand, mix, random_classes
from nolabel.methods.cotraining.ego_mask import read_mask, union_of
from nolabel.methods.cotraining.final_labels import final_labels
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy
from nolabel.methods.cotraining.optimiser import sgd_with_decay
from nolabel.models.segmentation import build_segmentor


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (60, 100), generator=generator).to(torch.uint8)
    return labels.expand(3, 60, 100).contiguous() * 60, labels


def draw(pair, seed=0, **settings):
    config = AugmentConfig(**({"crop": (32, 64)} | settings))
    return augment(*pair, config, torch.Generator().manual_seed(seed), num_classes=4)


def test_operations_can_be_replayed(pair):
    settings = {"resize": (64, 128), "shortest_edges": (40, 80), "crop_margin": (0.25, 0.75)}
    image, labels, operations = draw(pair, **settings)
    assert image.shape == (3, 32, 64) and labels.shape == (32, 64)
    again = apply(operations, *pair)
    assert torch.equal(image, again[0]) and torch.equal(labels, again[1])
    assert [type(o) for o in operations[:3]] == [Resize, Resize, Crop]
    executed = draw(pair, reference_compat=True, **settings)[2]
    assert executed[1] == Resize(64, 128)


def test_labels_stay_on_their_pixels(pair):
    image, labels, _ = draw(pair, resize=None, seed=3)
    assert torch.equal(image[0], labels * 60)


def test_windows_keep_their_margins():
    assert crop_start(768, 512, (0.25, 0.75), 0.99) == 192
    assert crop_start(1024, 512, (0.25, 0.75), 0.5) == 256
    assert {crop_start(1536, 512, (0.25, 0.75), u) for u in (0.0, 0.999999)} == {384, 640}
    assert crop_start(512, 512, (0.25, 0.75), 0.7) == 0  # the original loses a row here
    assert crop_start(40, 40, None, 0.99) == 0


def test_no_class_fills_the_window():
    labels = torch.zeros(40, 80, dtype=torch.uint8)
    labels[:, 50:] = 1
    pair = (torch.zeros(3, 40, 80, dtype=torch.uint8), labels)
    shares = [
        float((draw(pair, seed, crop=(40, 40), largest_share=0.75)[1] == 0).float().mean())
        for seed in range(20)
    ]
    assert max(shares) < 0.75 and min(shares) < 0.6


def test_windows_look_for_wanted_classes():
    labels = torch.zeros(200, 300, dtype=torch.uint8)
    labels[100:130, 200:230] = 3
    pair = (torch.zeros(3, 200, 300, dtype=torch.uint8), labels)
    wanted = ClassCrop(classes=(2, 3))
    for seed in range(10):
        assert int((draw(pair, seed, crop=(60, 60), class_crop=wanted)[1] == 3).sum()) >= 1


def test_rectangles_are_cut_out_of_the_image():
    image = torch.full((3, 64, 64), 9, dtype=torch.uint8)
    holes = CutOut(holes=(1, 1), length=(10, 10))
    black = cut_out(image, holes, torch.Generator().manual_seed(2)) == 0
    assert 0 < int(black[0].sum()) <= 100 and torch.equal(black[0], black[2])


def test_the_unsurest_half_is_pasted():
    source = torch.tensor([[[0, 1, 2, 3]], [[1, 1, 1, 1]], [[0, 0, 2, 2]]], dtype=torch.uint8)
    thresholds = torch.tensor([0.9, 0.6, 0.5, 0.7])
    chosen = classes_on_demand(source, thresholds)
    assert [row.nonzero().flatten().tolist() for row in chosen] == [[1, 2], [1], [2]]
    nothing = classes_on_demand(source[1:2], torch.tensor([0.9, 0.0, 0.5, 0.7]))
    assert not nothing.any()


def test_random_halves_follow_the_keys():
    source = torch.tensor([[[0, 1, 2, 255]]], dtype=torch.uint8)
    keys = torch.zeros(1, 256)
    keys[0, [0, 1, 2, 255]] = torch.tensor([0.1, 0.9, 0.2, 0.8])
    assert random_classes(source, keys)[0].nonzero().flatten().tolist() == [1, 255]


def test_pasted_pixels_are_the_sources():
    source_labels = torch.tensor([[[0, 1]]])
    mixed = mix(
        torch.ones(1, 3, 1, 2),
        source_labels,
        torch.zeros(1, 3, 1, 2),
        torch.tensor([[[5, 5]]]),
        listed_classes([1], 1),
    )
    assert mixed.labels.tolist() == [[[5, 1]]] and mixed.images[0, 0].tolist() == [[0, 1]]


def test_the_loss_is_that_of_the_worst_pixels():
    logits = torch.randn(2, 5, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 5, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    targets[0, 0] = 255
    every = F.cross_entropy(logits, targets, ignore_index=255, reduction="none").flatten()
    assert hard_pixel_cross_entropy(logits, targets) == pytest.approx(every.sort().values[-8:].mean().item())
    assert hard_pixel_cross_entropy(logits, targets, fraction=1.0) == pytest.approx(every.mean().item())


def test_the_surer_network_decides_and_the_smaller_threshold_holds():
    first = torch.log(torch.tensor([[0.7, 0.6], [0.2, 0.3], [0.1, 0.1]])).view(1, 3, 1, 2)
    second = torch.log(torch.tensor([[0.1, 0.1], [0.8, 0.5], [0.1, 0.4]])).view(1, 3, 1, 2)
    assert final_labels([first, second]).tolist() == [[[1, 0]]]
    limits = [torch.tensor([0.65, 0.9, 0.5]), torch.tensor([0.9, 0.75, 0.5])]
    assert final_labels([first, second], limits).tolist() == [[[1, 2]]]
    assert final_labels([first, second], mask=torch.tensor([[True, False]])).tolist() == [[[2, 0]]]


def test_void_goes_both_ways():
    labels = torch.tensor([0, 18, 255], dtype=torch.uint8)
    assert void_as_label(labels, 19).tolist() == [0, 18, 19]
    assert torch.equal(void_as_255(void_as_label(labels, 19), 19), labels)


def test_images_of_several_sizes_are_padded_to_one():
    samples = [
        (torch.full((3, h, w), 255, dtype=torch.uint8), torch.ones(h, w, dtype=torch.uint8))
        for h, w in ((4, 6), (5, 3))
    ]
    images, labels = collate(samples)
    assert images.shape == (2, 3, 5, 6) and labels.shape == (2, 5, 6)
    assert (images[0, :, :4] == 1).all() and (labels[0, 4] == 255).all() and (labels[1, :, 3:] == 255).all()
    assert images[1, :, 0, 5].tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_a_batch_is_sources_and_mixed_targets():
    source = (
        torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2),
        torch.tensor([0, 1, 2]).view(3, 1, 1).expand(3, 2, 2),
    )
    target = torch.full((2, 3, 2, 2), 9.0), torch.full((2, 2, 2), 5)
    images, labels = mixed_batch(source, target, lambda maps: listed_classes([2], len(maps)))
    assert images[:, 0, 0, 0].tolist() == [0, 9, 2] and labels[:, 0, 0].tolist() == [0, 5, 2]
    images, labels = mixed_batch(source, target)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 9, 9] and labels[:, 0, 0].tolist() == [0, 1, 2, 5, 5]


def test_masks_are_read_and_made(tmp_path):
    maps = [torch.tensor([[0, 1], [0, 0]]), torch.tensor([[0, 0], [0, 1]])]
    mask = union_of(maps, 1)
    assert mask.tolist() == [[False, True], [False, True]]
    Image.fromarray(mask.numpy()).save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png"), mask)
    assert read_mask(tmp_path / "mask.png", (4, 4)).sum() == 8
    with pytest.raises(DataError, match="nothing"):
        read_mask(tmp_path / "nothing.png")


def test_normalisation_is_not_decayed_and_the_rate_falls():
    network = build_segmentor("tiny", 3)
    optimiser, schedule = sgd_with_decay(network, 0.1, 10, weight_decay=0.5, warmup_steps=2)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.5, 0.0]
    counted = sum(len(group["params"]) for group in optimiser.param_groups)
    assert counted == len(list(network.parameters()))
    plain = {id(p) for p in optimiser.param_groups[1]["params"]}
    assert id(network.mix.norm.weight) in plain and id(network.classifier.bias) not in plain
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1 * 0.001)
    for _ in range(10):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == 0


def test_sizes_of_inference():
    assert InferenceSize().of_network((720, 1280)) == (1024, 1820)
    assert InferenceSize().of_labels((720, 1280)) == (720, 1280)
    fixed = InferenceSize(fixed=(64, 128))
    assert fixed.of_network((720, 1280)) == fixed.of_labels((720, 1280)) == (64, 128)
