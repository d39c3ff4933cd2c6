"""Golden ``cups_model``: the panoptic network, its losses and its merge against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.support import case_parameters, fill_layout, load_json, load_npz, unpack_masks
from nolabel.methods.cups.checkpoint import panoptic_from_checkpoint
from nolabel.models.backbones.convolution import ConvNorm
from nolabel.models.detection import (
    CascadeConfig,
    Detections,
    LowestIndexSampler,
    MaskCrop,
    pairwise_iou,
    place_instances,
    pyramid_anchors,
)
from nolabel.models.detection.pooling import pool_boxes
from nolabel.models.panoptic import (
    MultiViewPredictor,
    PanopticCascadeMaskRCNN,
    PanopticConfig,
    PanopticTarget,
    ViewConfig,
    merge_panoptic,
    standard_format,
)

pytestmark = pytest.mark.golden

FEATURES, LARGE_FEATURES, BOXES, SCORES, EQUAL_PIXELS = 2e-4, 1e-3, 1e-2, 1e-4, 0.98  # README table
LOSSES, GRADIENTS = 1e-3, 1e-2  # relative
LEVELS = ("p2", "p3", "p4", "p5", "p6")


def build(folder: Path, meta: dict[str, Any], **config: Any) -> PanopticCascadeMaskRCNN:
    """Fill the network of a case; sizes come from the tensors, thresholds from the case."""
    state = fill_layout(folder / meta["layout"], meta["salt"], meta["scale_after_fill"])
    return panoptic_from_checkpoint(state, PanopticConfig(**config))


def close(found: torch.Tensor, expected: np.ndarray, tolerance: float, what: str) -> None:
    assert tuple(found.shape) == expected.shape, what
    error = (
        float((found.detach().double() - torch.from_numpy(expected).double()).abs().max())
        if expected.size
        else 0
    )
    assert error <= tolerance, f"{what}: {error} > {tolerance}"


class Recorded:
    """One evaluation case and our network's intermediate results for it."""

    def __init__(self, folder: Path) -> None:
        self.meta = load_json(folder / "meta.json")
        self.expected = load_npz(folder / "output.npz")
        self.segments = load_json(folder / "segments_info.json")
        inputs = load_npz(folder / "input.npz")
        self.images = [torch.from_numpy(inputs[name]).float() / 255 for name in sorted(inputs)]
        self.network = build(folder.parent, self.meta, confidence_threshold=self.meta["confidence_threshold"])
        self.tolerance = FEATURES if self.meta["tiny"] else LARGE_FEATURES
        with torch.no_grad():
            self.residual: dict[str, torch.Tensor] = {}
            handle = self.network.backbone.bottom_up.register_forward_hook(
                lambda module, inputs, outputs: self.residual.update(outputs)
            )
            self.features = self.network.extract(self.images)
            handle.remove()
            self.scores = self.network.proposal_generator.score_anchors(list(self.features.pyramid.values()))


@pytest.fixture(scope="module", params=case_parameters("cups_model", "*_eval"))
def case(request: pytest.FixtureRequest) -> Recorded:
    torch.set_num_threads(1)
    return Recorded(request.param)


def test_backbone_and_pyramid(case: Recorded) -> None:
    for name, found in case.residual.items():
        close(found[:, :: found.shape[1] // 16], case.expected[name], case.tolerance, name)
    for name, found in case.features.pyramid.items():
        close(found[:, :: case.meta["channel_stride"]], case.expected[name], case.tolerance, name)


def test_anchors_and_their_scores(case: Recorded) -> None:
    config = case.network.config.proposals
    grids = [tuple(case.features.pyramid[name].shape[-2:]) for name in LEVELS]
    strides = case.network.backbone.strides
    for name, anchors in zip(
        LEVELS, pyramid_anchors(grids, strides, config.anchor_sizes, config.aspect_ratios), strict=True
    ):
        head, tail = case.expected[f"anchors_{name}_head"], case.expected[f"anchors_{name}_tail"]
        close(anchors[: len(head)], head, 1e-4, f"first anchors of {name}")
        close(anchors[-len(tail) :], tail, 1e-4, f"last anchors of {name}")
    for name, logits, deltas in zip(LEVELS, case.scores.logits, case.scores.deltas, strict=True):
        # Recorded as maps (B, A, h, w) and (B, 4 A, h, w); ours run over (h, w, A).
        maps, delta_maps = (
            torch.from_numpy(case.expected[f"rpn_{kind}_{name}"]) for kind in ("logits", "deltas")
        )
        close(logits, maps.permute(0, 2, 3, 1).flatten(1).numpy(), case.tolerance, f"logits {name}")
        wanted = delta_maps.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        close(deltas, wanted.numpy(), case.tolerance, f"deltas {name}")


def test_proposals(case: Recorded) -> None:
    selection = case.network.config.proposals.inference
    found = case.network.proposal_generator.propose(case.scores, case.features.image_sizes, selection)
    for image, proposals in enumerate(found):
        boxes = torch.from_numpy(case.expected[f"prop_boxes_{image}"])
        logits = torch.from_numpy(case.expected[f"prop_logits_{image}"])
        assert (proposals.logits.diff() <= 0).all()
        matched = equal_as_sets(proposals.boxes, proposals.logits, None, boxes, logits, None, case.tolerance)
        assert matched >= EQUAL_PIXELS * len(boxes), f"image {image}: {matched} of {len(boxes)} proposals"
        assert abs(len(proposals.boxes) - len(boxes)) <= (1 - EQUAL_PIXELS) * len(boxes)


def equal_as_sets(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor | None,
    expected_boxes: torch.Tensor,
    expected_scores: torch.Tensor,
    expected_classes: torch.Tensor | None,
    score_tolerance: float,
) -> int:
    """Count the recorded boxes of which ours holds one with equal corners, score and class."""
    equal = (boxes[None] - expected_boxes[:, None]).abs().amax(dim=2) <= BOXES
    equal &= (scores[None] - expected_scores[:, None]).abs() <= score_tolerance
    if classes is not None and expected_classes is not None:
        equal &= classes[None] == expected_classes[:, None]
    return int(equal.any(dim=1).sum())


def test_cascade_on_recorded_proposals(case: Recorded) -> None:
    count = case.meta["n_cascade_proposals"]
    heads, levels = case.network.roi_heads, case.features.region_levels
    boxes = [torch.from_numpy(case.expected[f"prop_boxes_{i}"][:count]) for i in range(len(case.images))]
    first = case.expected["roi7_stage0_first8"]
    rows = [boxes[0][: len(first)]] + [b[:0] for b in boxes[1:]]
    pooled = pool_boxes(levels, rows, first.shape[-1])[:, :: case.meta["channel_stride"]]
    close(pooled, first, case.tolerance, "pooled features")
    for stage in range(heads.num_stages):
        with torch.no_grad():
            output = heads.run_stage(stage, levels, boxes)
        close(
            output.logits, case.expected[f"stage{stage}_logits"], case.tolerance, f"logits of stage {stage}"
        )
        close(
            output.deltas, case.expected[f"stage{stage}_deltas"], case.tolerance, f"deltas of stage {stage}"
        )
        close(torch.cat(output.boxes), case.expected[f"stage{stage}_boxes"], BOXES, f"boxes of stage {stage}")
        boxes = [clip(b, size) for b, size in zip(output.boxes, case.features.image_sizes, strict=True)]


def clip(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    limit = torch.tensor([size[1], size[0]] * 2, dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limit)


def test_semantic_logits(case: Recorded) -> None:
    with torch.no_grad():
        logits = case.network.sem_seg_head(case.features.pyramid)
    close(logits, case.expected["sem_logits_stride4"], case.tolerance, "semantic logits")


def test_masks_and_merge_of_recorded_detections(case: Recorded) -> None:
    """Later stages, fed with the recorded detections, give the recorded masks and panoptic map."""
    expected = case.expected
    for image, size in enumerate(case.features.image_sizes):
        boxes, scores, classes = (
            torch.from_numpy(expected[f"det_{kind}_{image}"]) for kind in ("boxes", "scores", "classes")
        )
        detections = Detections(boxes, scores, classes)
        nothing = Detections(boxes[:0], scores[:0], classes[:0])
        batch = [detections if i == image else nothing for i in range(len(case.images))]
        with torch.no_grad():
            probabilities = case.network.mask_probabilities(case.features.region_levels, batch)[image]
        close(probabilities, expected[f"det_mask28_{image}"].astype(np.float32), 1e-3, "masks")
        instances = place_instances(detections, probabilities, size, size)
        masks = unpack_masks(expected[f"mask_bits_{image}"], expected[f"mask_shape_{image}"])
        assert len(masks) == len(instances)
        equal = (instances.masks().numpy() == masks).mean()
        assert equal >= 0.999, f"image {image}: {equal} of the mask pixels"
        semantic = torch.from_numpy(expected[f"sem_argmax_{image}"])
        full = [MaskCrop(0, 0, torch.from_numpy(mask)) for mask in masks]
        merged = merge_panoptic(
            full, scores, classes, semantic, confidence_threshold=case.meta["confidence_threshold"]
        )
        assert (merged.ids.numpy() == expected[f"panoptic_{image}"]).all()
        same_segments(merged.segments, case.segments[image])


def same_segments(found: Any, recorded: list[dict[str, Any]]) -> None:
    assert len(found) == len(recorded)
    for ours, theirs in zip(found, recorded, strict=True):
        assert (ours.id, ours.is_thing, ours.category) == (
            theirs["id"],
            theirs["isthing"],
            theirs["category_id"],
        )
        if ours.is_thing:
            assert ours.detection == theirs["instance_id"]
            assert ours.score == pytest.approx(theirs["score"], abs=1e-6)
        else:
            assert ours.area == theirs["area"]


def test_whole_network(case: Recorded) -> None:
    predictions = case.network.predict(case.images)
    expected = case.expected
    for image, prediction in enumerate(predictions):
        boxes, scores, classes = (
            torch.from_numpy(expected[f"det_{kind}_{image}"]) for kind in ("boxes", "scores", "classes")
        )
        ours = prediction.instances
        matched = equal_as_sets(ours.boxes, ours.scores, ours.classes, boxes, scores, classes, SCORES)
        assert matched >= 0.95 * len(boxes), f"image {image}: {matched} of {len(boxes)} detections"
        assert (pairwise_iou(boxes, ours.boxes).amax(dim=1) > 0.9).float().mean() >= 0.95
        assert (prediction.semantic.numpy() == expected[f"sem_argmax_{image}"]).mean() >= EQUAL_PIXELS
        assert (prediction.panoptic.ids.numpy() == expected[f"panoptic_{image}"]).mean() >= EQUAL_PIXELS
        standard = torch.stack(prediction.cluster_maps(), dim=-1).numpy()
        assert (standard == expected[f"standard_{image}"]).all(axis=-1).mean() >= EQUAL_PIXELS


@pytest.mark.parametrize("path", case_parameters("cups_model", "train"))
def test_losses_and_gradients(path: Path) -> None:
    torch.set_num_threads(1)
    meta, arrays = load_json(path.with_suffix(".json")), load_npz(path)
    threshold = meta["drop_loss_iou"] if meta["drop_loss"] else None
    cascade = CascadeConfig(drop_loss_threshold=threshold, reference_compat=True)
    network = build(path.parents[1], meta, cascade=cascade).train()
    if not meta["bn_train"]:
        for module in network.modules():
            if isinstance(module, ConvNorm) and isinstance(module.norm, torch.nn.BatchNorm2d):
                module.norm.eval()
    count = len([name for name in arrays if name.startswith("image_")])
    images = [torch.from_numpy(arrays[f"image_{i}"]).float() / 255 for i in range(count)]
    targets = [
        PanopticTarget(
            boxes=torch.from_numpy(arrays[f"boxes_{i}"]),
            classes=torch.from_numpy(arrays[f"classes_{i}"]),
            instances=torch.from_numpy(arrays[f"instance_{i}"]),
            semantic=torch.from_numpy(arrays[f"sem_seg_{i}"]),
        )
        for i in range(count)
    ]
    losses = network(images, targets, sampler=LowestIndexSampler())
    values = {name: loss.item() for name, loss in losses.items()}
    assert values == pytest.approx(meta["losses"], rel=LOSSES, abs=1e-5)
    total = sum(losses.values())
    assert total.item() == pytest.approx(meta["total"], rel=LOSSES)
    total.backward()
    parameters = dict(network.named_parameters())
    norms = {name: parameters[name].grad.norm().item() for name in meta["grad_norms"]}
    assert norms == pytest.approx(meta["grad_norms"], rel=GRADIENTS, abs=1e-6)


@pytest.mark.parametrize("path", case_parameters("cups_model", "merge"))
def test_merge(path: Path) -> None:
    arrays, meta = load_npz(path), load_json(path.with_suffix(".json"))
    masks = torch.from_numpy(unpack_masks(arrays["masks"], arrays["mask_shape"]))
    merged = merge_panoptic(
        [MaskCrop(0, 0, mask) for mask in masks],
        torch.from_numpy(arrays["scores"]),
        torch.from_numpy(arrays["classes"]),
        torch.from_numpy(arrays["semantic"]),
        confidence_threshold=meta["score_threshold"],
        overlap_limit=meta["overlap"],
        stuff_area_limit=meta["stuff_area"],
    )
    assert (merged.ids.numpy() == arrays["panoptic"]).all()
    same_segments(merged.segments, meta["segments"])
    stuff, things = range(meta["S"]), range(meta["S"], meta["S"] + meta["T"])
    standard = torch.stack(standard_format(merged, stuff, things), dim=-1).numpy()
    assert (standard == arrays["standard"]).all()


@pytest.mark.parametrize("path", case_parameters("cups_model", "tta/*.json"))
def test_views(path: Path) -> None:
    """Several views: their boxes, the united boxes, the mean probabilities and the merged map."""
    torch.set_num_threads(1)
    meta, arrays = load_json(path), load_npz(path.with_suffix(".npz"))
    network = build(path.parents[1], meta, confidence_threshold=meta["confidence_threshold"])
    config = ViewConfig(
        tuple(meta["short_sides"]), mirror=meta["flip"], score_threshold=meta["tta_threshold"]
    )
    predictor = MultiViewPredictor(network, config)
    image = torch.from_numpy(arrays["image"]).float() / 255
    pictures = [picture for _, scale in predictor.views(image) for picture in scale]
    assert [list(picture.shape[-2:]) for picture in pictures] == arrays["view_shapes"].tolist()
    close(pictures[1], arrays["view1_image"].astype(np.float32), 1e-3, "second view")

    with torch.no_grad():
        _, union = predictor.detect(image)
    recorded = {
        kind: [torch.from_numpy(arrays[f"{kind}_{part}"]) for part in ("boxes", "scores", "classes")]
        for kind in ("union", "merged")
    }
    matched = equal_as_sets(*union, *recorded["union"], SCORES)
    assert matched >= EQUAL_PIXELS * len(recorded["union"][0])
    united = predictor.unite(Detections(*recorded["union"]), (image.shape[-2], image.shape[-1]))
    matched = equal_as_sets(*united, *recorded["merged"], SCORES)
    assert matched == len(recorded["merged"][0]) == len(united.boxes)

    (prediction,) = predictor([image])
    close(prediction.semantic_logits, arrays["sem_prob"], SCORES, "mean probabilities")
    assert (prediction.panoptic.ids.numpy() == arrays["panoptic"]).mean() >= EQUAL_PIXELS
