"""Golden ``unmore/detector``: the class-agnostic detector, its losses and its copy-paste against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.support import case_parameters, fill_layout, load_json, load_npz
from nolabel.methods.unmore.detector_copy_paste import PasteDraw, paste_objects
from nolabel.methods.unmore.detector_model import network_from_state
from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.models.detection import (
    BoxCoder,
    CascadeConfig,
    ClassAgnosticMaskRCNN,
    MaskTarget,
    ProposalSelection,
    pairwise_iou,
)
from nolabel.models.detection.cascade import crop_masks
from nolabel.models.detection.drop_loss import drop_loss_weights
from nolabel.models.detection.region_losses import box_loss, classification_loss, mask_loss

pytestmark = pytest.mark.golden

LOSSES, FEATURES, BOXES, SCORES, MASKS = (
    1e-5,
    2e-3,
    0.05,
    1e-3,
    5e-3,
)  # README table; scores and masks follow features
KNOWN = {"copy_paste_draws", "copy_paste_input", "copy_paste_output", "image", "layout"} | {
    "losses_input",
    "losses_output",
    "meta",
    "output",
}
OBJECT, BACKGROUND = 0, 1  # as recorded; ours are the same with one class


def folders() -> list[Any]:
    """Every folder of recorded detectors: ``detector`` itself and folders in it."""
    return case_parameters("unmore", "detector")


@pytest.mark.parametrize("path", folders())
def test_every_recorded_file_is_compared(path: Path) -> None:
    assert {file.stem for file in path.iterdir() if file.is_file()} <= KNOWN


class Recorded:
    """The recorded image through our network."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.expected = load_npz(folder / "output.npz")
        state = fill_layout(folder / "layout.json", load_json(folder / "meta.json")["salt"])
        self.network: ClassAgnosticMaskRCNN = network_from_state(state)
        self.image = torch.from_numpy(load_npz(folder / "image.npz")["image_rgb"]).float() / 255
        generator = self.network.proposal_generator
        count = len(self.expected["proposal_boxes"])
        selection = ProposalSelection(generator.config.inference.per_level, count)
        with torch.no_grad():
            self.features = self.network.extract([self.image])
            scores = generator.score_anchors(list(self.features.pyramid.values()))
            (self.proposals,) = generator.propose(scores, self.features.image_sizes, selection)


@pytest.fixture(scope="module", params=folders())
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


def test_pyramid(recorded: Recorded) -> None:
    names = [name for name in recorded.expected if name.endswith("_every_16th")]
    assert names
    for name in names:
        found = recorded.features.pyramid[name.removesuffix("_every_16th")][:, ::16].numpy()
        np.testing.assert_allclose(found, recorded.expected[name], atol=FEATURES, err_msg=name)


def matched(boxes: torch.Tensor, expected: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for every recorded box the nearest of ours and how far off its worst corner is."""
    distance = (boxes[None] - torch.from_numpy(expected)[:, None]).abs().amax(dim=2)
    nearest = distance.min(dim=1)
    return nearest.indices, nearest.values


def test_proposals(recorded: Recorded) -> None:
    expected = recorded.expected["proposal_boxes"]
    rows, distance = matched(recorded.proposals.boxes, expected)
    assert len(recorded.proposals.boxes) == len(expected)
    assert float(distance.max()) <= BOXES
    logits = recorded.proposals.logits[rows].numpy()
    np.testing.assert_allclose(logits, recorded.expected["proposal_logits"], atol=FEATURES)


def test_boxes_scores_and_masks(recorded: Recorded) -> None:
    expected, network = recorded.expected, recorded.network
    levels, sizes = recorded.features.region_levels, recorded.features.image_sizes
    with torch.no_grad():
        (found,) = network.roi_heads.detect(levels, [recorded.proposals.boxes], sizes)
        (masks,) = network.mask_probabilities(levels, [found])
    assert len(found.boxes) == len(expected["boxes"])
    rows, distance = matched(found.boxes, expected["boxes"])
    assert float(distance.max()) <= BOXES
    np.testing.assert_allclose(found.scores[rows].numpy(), expected["scores"], atol=SCORES)
    recorded_masks = expected["masks28_first20"]
    np.testing.assert_allclose(masks[rows[: len(recorded_masks)]].numpy(), recorded_masks, atol=MASKS)


@pytest.mark.parametrize("path", folders())
def test_losses_of_every_stage(path: Path) -> None:
    given = {name: torch.from_numpy(a) for name, a in load_npz(path / "losses_input.npz").items()}
    expected = load_npz(path / "losses_output.npz")
    stages = sorted({name.split("_")[0] for name in expected if name[0] == "s" and name[1].isdigit()})
    foreground = given["gt_classes"] == OBJECT
    quality = given["gt_scores"]
    for number, stage in enumerate(stages):
        coder = BoxCoder(CascadeConfig().stage_weights[number])
        logits, deltas = (given[name].clone().requires_grad_() for name in ("logits", "deltas"))
        boxes = coder.decode(given["proposals"], deltas)
        close(boxes, expected[f"{stage}_pred_boxes"], 1e-3)
        weights = drop_loss_weights([boxes.detach()], [given["all_gt"]], 0.01)
        close(pairwise_iou(boxes, given["all_gt"]).amax(1), expected[f"{stage}_iou_max"], LOSSES)
        close(weights, expected[f"{stage}_droploss_weight"], 0)
        plain = classification_loss(logits, given["gt_classes"], quality)
        close(plain, expected[f"{stage}_loss_cls_no_droploss"], LOSSES)
        classification = classification_loss(logits, given["gt_classes"], quality, weights)
        close(classification, expected[f"{stage}_loss_cls"], LOSSES)
        wanted = coder.encode(given["proposals"][foreground], given["gt_boxes"][foreground])
        regression = box_loss(deltas[foreground], wanted, len(foreground), quality[foreground])
        close(regression, expected[f"{stage}_loss_box_reg"], LOSSES)
        (classification + regression).backward()
        close(logits.grad, expected[f"{stage}_grad_logits"], LOSSES)
        close(deltas.grad, expected[f"{stage}_grad_deltas"], LOSSES)


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("path", folders())
def test_mask_loss(path: Path) -> None:
    given = {name: torch.from_numpy(a) for name, a in load_npz(path / "losses_input.npz").items()}
    expected = load_npz(path / "losses_output.npz")
    count, size = len(given["mask_boxes"]), given["mask_logits"].shape[-1]
    target = MaskTarget(given["mask_boxes"], torch.zeros(count).long(), given["gt_masks"].bool())
    wanted = crop_masks(target, torch.arange(count), given["mask_boxes"], size)
    np.testing.assert_array_equal(wanted.numpy(), expected["mask_targets"])
    loss = mask_loss(given["mask_logits"][:, 0], wanted, given["mask_scores"])
    close(loss, expected["loss_mask"], LOSSES)


def recorded_draws(entries: list[Any], counts: list[int]) -> list[PasteDraw | None]:
    """Read the numbers in the order in which the original drew them, one pair after the other."""
    values = iter(entries)

    def take(kind: str) -> Any:
        name, value = next(values)
        assert name == kind
        return value

    draws: list[PasteDraw | None] = []
    for count in counts:
        take("random")
        if count == 0:
            draws.append(None)
            continue
        if count > 1:
            take("randint")
        objects = tuple(take("choice"))
        ratio = take("uniform")
        draws.append(PasteDraw(objects, ratio, take("randint"), take("randint")))
    assert next(values, None) is None
    return draws


@pytest.mark.parametrize("path", folders())
def test_copy_paste(path: Path) -> None:
    given = {name: torch.from_numpy(a) for name, a in load_npz(path / "copy_paste_input.npz").items()}
    expected = load_npz(path / "copy_paste_output.npz")
    count = len([name for name in given if name.startswith("image_")])
    batch = [
        DetectorSample.from_masks(given[f"image_{i}"], given[f"masks_{i}"].bool(), given[f"scores_{i}"])
        for i in range(count)
    ]
    sources = batch[::-1]
    draws = recorded_draws(load_json(path / "copy_paste_draws.json"), [len(s.scores) for s in sources])
    for i, (target, source, draw) in enumerate(zip(batch, sources, draws, strict=True)):
        found = target if draw is None else paste_objects(target, source, draw, reference_compat=True)
        difference = (found.image.int() - torch.from_numpy(expected[f"image_{i}"]).int()).abs()
        assert int(difference.max()) <= 1
        np.testing.assert_array_equal(found.masks.numpy(), expected[f"masks_{i}"])
        close(found.boxes, expected[f"boxes_{i}"], 1e-3)
        close(found.scores, expected[f"scores_{i}"], 1e-6)
