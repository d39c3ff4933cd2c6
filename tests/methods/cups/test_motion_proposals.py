import pytest
import torch

from methods.cups.motion_scene import moving_boxes
from nolabel.errors import DataError
from nolabel.methods.cups.proposals import ObjectProposalConfig, ObjectProposals, object_proposals

SIZE = (160, 320)
CONFIG = ObjectProposalConfig(runs=3, cycles=4)


def propose(noise: float = 0.02, config: ObjectProposalConfig = CONFIG, seed: int = 0) -> ObjectProposals:
    motion, camera, ids = moving_boxes(*SIZE, noise)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    return object_proposals(motion, camera, everywhere, config, torch.Generator().manual_seed(seed))


def best_iou(result: ObjectProposals, mask: torch.Tensor) -> tuple[float, int]:
    ious = [
        float((mask & (result.instances == i)).sum() / (mask | (result.instances == i)).sum())
        for i in range(1, result.count + 1)
    ]
    return max((iou, i + 1) for i, iou in enumerate(ious))


@pytest.mark.parametrize("seed", [0, 1])
def test_moving_boxes_come_out_apart_and_nothing_else(seed: int) -> None:
    _, _, ids = moving_boxes(*SIZE)
    result = propose(seed=seed)
    found = [best_iou(result, ids == box) for box in (1, 2)]
    assert all(iou > 0.6 for iou, _ in found), found
    assert result.count == 2 and len({index for _, index in found}) == 2
    assert result.scores.shape == (2,) and (result.scores > 0.6).all()
    assert result.report["emptied_by"] is None
    assert result.report["objects"] == 2


def test_same_seed_same_result() -> None:
    a, b = propose(0.1, seed=3), propose(0.1, seed=3)
    assert torch.equal(a.instances, b.instances)
    assert torch.equal(a.scores, b.scores)
    assert a.report == b.report


def test_report_accounts_for_every_pixel() -> None:
    report = propose().report
    assert report["valid_pixels"] + sum(report["lost"].values()) == report["pixels"] == SIZE[0] * SIZE[1]


def test_static_scene_has_no_objects() -> None:
    motion, camera, ids = moving_boxes(*SIZE, 0.02)
    allowed = torch.ones_like(ids, dtype=torch.bool)
    allowed[:, :] = ids == 0
    result = object_proposals(motion, camera, allowed, CONFIG)
    assert result.count == 0
    assert result.report["emptied_by"] in {"components", "agreement", "size"}


def test_says_when_nothing_is_valid() -> None:
    motion, camera, ids = moving_boxes(*SIZE)
    result = object_proposals(motion, camera, torch.zeros_like(ids, dtype=torch.bool), CONFIG)
    assert result.report["emptied_by"] == "validity"
    assert result.report["lost"]["allowed"] == ids.numel()
    assert result.count == 0 and result.scores.shape == (0,)


def test_vanilla_gives_the_motions_of_one_run() -> None:
    result = propose(config=CONFIG.replaced(variant="vanilla"))
    assert result.count == len(result.motion_labels.unique()) - 1
    assert torch.equal(result.instances > 0, result.motion_labels > 0)


def test_refuses_a_batch_and_a_wrong_mask() -> None:
    motion, camera, _ = moving_boxes(64, 128)
    with pytest.raises(DataError, match="one sample"):
        object_proposals(motion, camera, torch.ones(3, 3, dtype=torch.bool), CONFIG)


def test_pixel_settings_follow_the_image_size() -> None:
    config = ObjectProposalConfig()
    assert config.for_image(640, 1280).min_component == config.min_component
    quarter = config.for_image(320, 640)
    assert quarter.min_component == config.min_component // 4
    assert quarter.min_noise == config.min_noise / 2
    exact = ObjectProposalConfig(reference_compat=True)
    assert exact.for_image(320, 640) == exact
