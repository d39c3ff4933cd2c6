"""The panoptic network as a whole: shapes, sizes, empty inputs, training."""

from dataclasses import replace

import pytest
import torch

from nolabel.errors import ConfigError, DataError
from nolabel.models.backbones import ConvNorm
from nolabel.models.detection import LowestIndexSampler, RandomSampler
from nolabel.models.panoptic import (
    MultiViewPredictor,
    PanopticCascadeMaskRCNN,
    PanopticConfig,
    PanopticTarget,
    ViewConfig,
)

THINGS, STUFF = 3, 4


def network(**changes):
    torch.manual_seed(0)
    return PanopticCascadeMaskRCNN(PanopticConfig.tiny(THINGS, STUFF, **changes)).eval()


def lively(**changes):
    """Return a network whose random heads detect something."""
    model = network(confidence_threshold=0.3, **changes)
    with torch.no_grad():
        for predictor in model.roi_heads.box_predictor:
            predictor.cls_score.weight.mul_(300)
    return model


def image(height=64, width=96, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def target(height=64, width=96, objects=2):
    instances = torch.zeros(height, width, dtype=torch.int64)
    semantic = torch.ones(height, width, dtype=torch.int64)
    semantic[height // 2 :] = STUFF
    boxes = [(8.0 + 40 * n, 8.0, 32.0 + 40 * n, 40.0) for n in range(objects)]
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        instances[int(y0) : int(y1), int(x0) : int(x1)] = number
    semantic[instances > 0] = 0
    return PanopticTarget(
        boxes=torch.tensor(boxes).reshape(-1, 4),
        classes=torch.arange(objects) % THINGS,
        instances=instances,
        semantic=semantic,
    )


def test_the_tiny_network_is_small():
    assert 1e6 < sum(p.numel() for p in network().parameters()) < 4e6


def test_a_prediction_has_the_size_of_its_image():
    first, second = lively()([image(64, 96), image(50, 70)])
    assert first.semantic_logits.shape == (STUFF + 1, 64, 96)
    assert second.semantic.shape == second.panoptic.ids.shape == (50, 70)
    assert second.instances.masks().shape == (len(second.instances), 50, 70)
    assert len(first.instances) > 0
    boxes = second.instances.boxes
    assert (boxes >= 0).all() and (boxes[:, 2] <= 70).all() and (boxes[:, 3] <= 50).all()


def test_an_image_is_predicted_alike_alone_and_in_a_batch():
    model = lively()
    (alone,), (_, beside) = model([image(seed=1)]), model([image(seed=2), image(seed=1)])
    assert torch.allclose(alone.semantic_logits, beside.semantic_logits, atol=1e-4)
    assert torch.allclose(alone.instances.boxes, beside.instances.boxes, atol=1e-2)
    assert (alone.panoptic.ids == beside.panoptic.ids).float().mean() > 0.99


def test_output_sizes_are_respected():
    (prediction,) = lively()([image(64, 96)], output_sizes=[(128, 192)])
    assert prediction.panoptic.ids.shape == prediction.semantic.shape == (128, 192)
    assert prediction.instances.boxes[:, 2].max() > 96
    cluster, instance = prediction.cluster_maps()
    assert set(cluster.unique().tolist()) <= {*range(THINGS + STUFF), 255}
    assert int(instance.max()) == len([s for s in prediction.panoptic.segments if s.is_thing])


def test_images_without_detections_are_fine():
    (prediction,) = network(confidence_threshold=0.99)(image()[None])
    assert len(prediction.instances) == 0
    assert prediction.instances.masks().shape == (0, 64, 96)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.rand(1, 8, 8), "float tensor"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "float tensor"),
        (torch.full((3, 8, 8), 200.0), "0 .. 1"),
        (torch.full((3, 8, 8), float("nan")), "0 .. 1"),
    ],
)
def test_wrong_images_are_refused(wrong, words):
    with pytest.raises(DataError, match=words):
        network()([wrong])


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="do not fit"):
        network()([image(64, 96)], [target(64, 64)])
    with pytest.raises(DataError, match="boxes"):
        network()([image()], [replace(target(), boxes=torch.zeros(1, 4))])


@pytest.mark.parametrize("objects", [(2, 1), (2, 0), (0, 0)])
@pytest.mark.parametrize("reference_compat", [False, True])
def test_losses_and_gradients_are_finite(objects, reference_compat):
    base = PanopticConfig.tiny(THINGS, STUFF)
    model = network(cascade=replace(base.cascade, reference_compat=reference_compat)).train()
    losses = model([image(seed=1), image(seed=2)], [target(objects=n) for n in objects])
    assert set(losses) == {
        *("loss_sem_seg", "loss_rpn_cls", "loss_rpn_loc", "loss_mask"),
        *(f"loss_{kind}_stage{stage}" for kind in ("cls", "box_reg") for stage in range(3)),
    }
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.backbone.bottom_up.stem["conv1"].weight.grad.abs().sum() > 0


def test_void_semantics_cost_nothing():
    void = replace(target(), semantic=torch.full((64, 96), 255))
    losses = network().train()([image()], [void])
    assert losses["loss_sem_seg"].item() == 0


def test_losses_repeat_under_a_seed():
    model = network()
    values = [
        sum(
            model([image()], [target()], sampler=RandomSampler(torch.Generator().manual_seed(seed))).values()
        ).item()
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]


def test_training_fits_one_image():
    model = network().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(12):
        losses = model([image()], [target()], sampler=LowestIndexSampler())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append(sum(losses.values()).item())
    assert min(totals[-3:]) < 0.6 * totals[0]


def test_a_frozen_backbone_keeps_its_statistics_and_gets_no_gradients():
    model = network()
    model.freeze_backbone()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    sum(model([image()], [target()]).values()).backward()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.roi_heads.mask_head.predictor.weight.grad is not None


def test_reduced_precision_keeps_boxes_and_losses_in_float32():
    model = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (prediction,) = lively()([image()])
        losses = model.train()([image()], [target()])
    assert prediction.instances.boxes.dtype == prediction.semantic_logits.dtype == torch.float32
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())


def test_batch_norm_on_stored_statistics_is_folded_exactly():
    conv = ConvNorm(3, 5, 3)
    conv.norm.running_mean.normal_()
    conv.norm.running_var.uniform_(0.5, 2)
    conv.eval()
    x = torch.randn(2, 3, 8, 8)
    plain = conv.norm(torch.nn.functional.conv2d(x, conv.weight, padding=1))
    assert torch.allclose(conv(x), plain, atol=1e-5)


def test_one_view_predicts_like_the_network():
    model = lively()
    predictor = MultiViewPredictor(model, ViewConfig((64,), mirror=False, score_threshold=0.3))
    (single,), (several,) = model([image()]), predictor([image()])
    assert torch.allclose(several.semantic_logits, single.semantic_logits.softmax(dim=0), atol=1e-5)
    assert torch.allclose(several.instances.boxes, single.instances.boxes, atol=1e-3)
    assert torch.equal(several.panoptic.ids, single.panoptic.ids)


def test_mirrored_views_agree_on_a_mirrored_image():
    predictor = MultiViewPredictor(lively(), ViewConfig((64, 96), score_threshold=0.3))
    (straight,), (mirrored,) = predictor([image(60, 90)]), predictor([image(60, 90).flip(-1)])
    # 60 x 90 is no multiple of 32: the mirrored map must not be shifted by the padding.
    assert torch.allclose(straight.semantic_logits, mirrored.semantic_logits.flip(-1), atol=1e-5)
    assert len(straight.instances) == len(mirrored.instances) > 0


def test_configuration_survives_plain_data():
    config = PanopticConfig.tiny(THINGS, STUFF, semantic_class_weights=(1.0,) * (STUFF + 1))
    assert PanopticConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="depth"):
        PanopticConfig.from_dict({"resnet": {"depth": 50}})
    with pytest.raises(ConfigError, match="things"):
        PanopticConfig(num_things=0)
    with pytest.raises(ConfigError, match="semantic_class_weights"):
        PanopticConfig(num_stuff=3, semantic_class_weights=(1.0,))
