"""Masks of masked image consistency, and pseudo labels with their weight."""

from __future__ import annotations

import torch

from nolabel.methods.quadmix.masking import MaskConfig, block_mask, draw_mask_grid, mask_images
from nolabel.methods.quadmix.pseudo_label import PseudoLabelConfig, pseudo_labels


def test_masks_are_blocks_of_the_share_asked_for():
    config = MaskConfig(block=4, ratio=0.7)
    grid = draw_mask_grid(torch.Generator().manual_seed(0), 8, (80, 120), config)
    assert grid.shape == (8, 1, 20, 30)
    kept = block_mask(grid, (80, 120), config)
    assert 0.25 < kept.float().mean() < 0.35
    blocks = kept.unfold(2, 4, 4).unfold(3, 4, 4).float().mean((-1, -2))
    assert set(blocks.unique().tolist()) == {0.0, 1.0}


def test_hidden_pixels_take_the_fill():
    images, fill = torch.rand(1, 3, 4, 4), torch.tensor([0.1, 0.2, 0.3])
    kept = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    kept[..., 0] = True
    masked = mask_images(images, kept, fill)
    assert torch.equal(masked[..., 0], images[..., 0])
    assert torch.equal(masked[..., 1:], fill[:, None, None].expand(3, 4, 3)[None])


def test_a_weight_for_each_image_but_as_executed_for_the_batch():
    logits = torch.zeros(2, 3, 2, 2)
    logits[0, 1] = 20
    own = pseudo_labels(logits, PseudoLabelConfig())
    assert own.labels[0].eq(1).all() and own.weight[0].eq(1).all() and own.weight[1].eq(0).all()
    torch.testing.assert_close(own.confidence[1], torch.full((2, 2), 1 / 3))
    assert pseudo_labels(logits, PseudoLabelConfig(reference_compat=True)).weight.eq(0.5).all()
    assert pseudo_labels(logits, PseudoLabelConfig(threshold=None)).weight.eq(1).all()


def test_margins_weigh_nothing():
    logits = torch.zeros(1, 2, 5, 3)
    valid = torch.ones(1, 5, 3)
    valid[..., 0] = 0
    config = PseudoLabelConfig(threshold=None, ignore_top=1, ignore_bottom=2)
    weight = pseudo_labels(logits, config, valid).weight[0]
    assert weight.sum() == 4 and weight[1:3, 1:].eq(1).all()
