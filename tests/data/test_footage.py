"""The thresholds of the footage checks, measured on the embedded world: right calibrations raise nothing."""

from dataclasses import replace

import pytest
import torch

from nolabel.data.footage import (
    PairMeasures,
    calibration_faults,
    image_fault,
    measure_pair,
    repeats,
)
from nolabel.structures import StereoCalibration
from nolabel.world import Rig, generate_scene, render_stereo_video
from nolabel.world.render import Renderer

RIG = Rig(size=(128, 256))
SEEDS = (0, 1, 2, 5)
WRONG = {
    "baseline x2": (1.0, 2.0, "implausible camera height"),
    "baseline /2": (1.0, 0.5, "implausible camera height"),
    "intrinsics x2": (2.0, 1.0, "intrinsics of another image size"),
    "intrinsics /2": (0.5, 1.0, "intrinsics of another image size"),
}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[torch.Tensor, ...]]:
    """Images and exact motion of several scenes."""
    rendered = []
    for seed in SEEDS:
        truth = render_stereo_video(Renderer(generate_scene(seed), "real", RIG))
        rendered.append(
            (
                truth.left_0.image,
                truth.left_1.image,
                truth.left_0.disparity[None],
                truth.right_0.disparity[None],
                truth.flow_forward,
            )
        )
    return rendered


def measures(
    pairs: list[tuple[torch.Tensor, ...]], calibration: StereoCalibration, noise: float = 0.3
) -> list[PairMeasures]:
    generator = torch.Generator().manual_seed(0)
    return [
        measure_pair(
            (left + noise * torch.randn(left.shape, generator=generator)).clamp(min=0),
            right,
            calibration,
            flow,
        )
        for _, _, left, right, flow in pairs
    ]


def test_right_calibration_raises_no_warning(pairs: list[tuple[torch.Tensor, ...]]) -> None:
    calibration = RIG.calibration()
    for seed, measure in zip(SEEDS, measures(pairs, calibration), strict=True):
        scene = generate_scene(seed)
        assert measure.camera_height == pytest.approx(scene.ego.height, rel=0.06)
        assert measure.pitch == pytest.approx(57.3 * scene.ego.tilt, abs=1.0)
        assert measure.step == pytest.approx(scene.ego.path.speed / RIG.fps, rel=0.15)
        assert calibration_faults(calibration, RIG.size, [measure]) == []
    for first, second, *_ in pairs:
        assert image_fault(first) is None and not repeats(first, second)


@pytest.mark.parametrize("case", WRONG)
def test_calibration_wrong_by_two_is_named(pairs: list[tuple[torch.Tensor, ...]], case: str) -> None:
    intrinsics, baseline, kind = WRONG[case]
    good = RIG.calibration()
    wrong = replace(good.scaled(intrinsics), baseline=good.baseline * baseline)
    faults = calibration_faults(wrong, RIG.size, measures(pairs, wrong))
    assert kind in {fault.kind for fault in faults}
    remedy = next(fault.remedy for fault in faults if fault.kind == kind)
    if intrinsics != 1:
        assert f"by {intrinsics:g}" in remedy
        assert "tilted ground" in {fault.kind for fault in faults}  # the ground says so, too
    else:
        assert f"too {'large' if baseline > 1 else 'small'}" in remedy


@pytest.mark.parametrize(
    ("width", "height", "calibration"),
    [  # published cameras
        (2048, 1024, StereoCalibration(2262.52, 2265.3, 1096.98, 513.137, 0.209313, 17)),
        (1242, 375, StereoCalibration(721.5377, 721.5377, 609.5593, 172.854, 0.5327, 10)),
    ],
)
def test_published_cameras_are_plausible(width: int, height: int, calibration: StereoCalibration) -> None:
    assert calibration_faults(calibration, (height, width)) == []
    for factor in (0.5, 2.0):
        (fault,) = calibration_faults(calibration.scaled(factor), (height, width))
        assert fault.kind == "intrinsics of another image size"


def test_black_and_flat_images() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 40, 60, generator=generator)
    assert image_fault(0.04 * noise) == "black"
    assert image_fault(torch.full((3, 40, 60), 0.7)) == "of one colour"
    night = 0.05 * noise
    night[:, 10:14, 20:30] = 0.9  # lamps
    assert image_fault(night) is None


def test_repeated_frames_are_not_standing_cameras() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 40, 60, generator=generator)
    stamped = image.clone()
    stamped[:, 0, 0] = 1 - stamped[:, 0, 0]
    assert repeats(image, image) and repeats(image, stamped)
    assert not repeats(image, image + 1 / 255 * torch.randn(image.shape, generator=generator))
