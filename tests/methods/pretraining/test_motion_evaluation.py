"""Scores of motion on stereo video with exact motion, and on what the images show themselves."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nolabel.cli import app
from nolabel.methods.pretraining.motion_data import open_views
from nolabel.methods.pretraining.motion_evaluation import (
    NoMotion,
    evaluate_motion,
    exact_motion_folder,
    score_motion,
    scores_table,
)
from nolabel.models.motion import StereoMotion
from nolabel.structures import Flow
from nolabel.structures.files import encode_png

HEIGHT, WIDTH, FRAMES = 64, 96, 3
DISPARITY, MOTION = 4.0, 5.0


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """A textured wall 4 pixels of disparity away that moves 5 pixels to the right in each frame."""
    root = tmp_path_factory.mktemp("plane")
    noise = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    wall = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    flow = torch.zeros(2, HEIGHT, WIDTH)
    flow[0] = MOTION
    disparity = encode_png(np.full((HEIGHT, WIDTH), DISPARITY * 256, dtype=np.uint16))
    for frame in range(FRAMES):
        for side, shift in (("left", 0), ("right", DISPARITY)):
            start = int(16 - MOTION * frame + shift)
            picture = (wall[:, :, start : start + WIDTH] * 255).round().byte().permute(1, 2, 0).numpy()
            write(root / side / f"{frame:03d}.png", encode_png(picture))
        for kind in ("disparity", "disparity_right"):
            write(root / "motion" / kind / f"{frame:03d}.png", disparity)
        if frame + 1 < FRAMES:
            write(root / "motion" / "flow_forward" / f"{frame:03d}.png", Flow(flow).png())
            write(root / "motion" / "flow_backward" / f"{frame + 1:03d}.png", Flow(-flow).png())
    return root


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Known(NoMotion):
    """The truth, with an error added to the flow."""

    def __init__(self, error=0.0):
        self.error = error

    def stereo_video(self, left_0, right_0, left_1, right_1):
        flow, disparity = torch.zeros_like(left_0[:, :2]), torch.full_like(left_0[:, :1], DISPARITY)
        flow[:, 0] = MOTION
        return StereoMotion(flow + self.error, -flow, disparity, disparity, disparity, disparity)


def test_the_truth_has_no_error(plane) -> None:
    found = evaluate_motion(Known(), [plane], progress=False)[str(plane)].record()
    assert found["flow_epe"] == found["flow_fl"] == found["disparity_epe"] == found["disparity_d1"] == 0
    assert found["colour"] < 1e-3 and found["colour_stereo"] < 1e-3
    assert found["census"] < 0.01  # pixels at the border have neighbours that nothing shows
    assert found["occluded"] == pytest.approx(MOTION / WIDTH, abs=1e-6)  # what leaves the image at the right


def test_errors_are_counted(plane) -> None:
    still = evaluate_motion(NoMotion(), [plane], progress=False)[str(plane)]
    record = still.record()
    # Each of the two pairs, there and back: the last frame, which begins no pair, has its backward flow too.
    assert still.flow.pixels == 2 * 2 * HEIGHT * WIDTH and still.samples == 2
    assert record["flow_epe"] == pytest.approx(MOTION) and record["flow_fl"] == 1
    assert record["disparity_epe"] == pytest.approx(DISPARITY) and record["disparity_d1"] == 1
    assert record["census"] > 0.2 and record["colour"] > 10
    assert still.flow_visible.pixels == 2 * 2 * HEIGHT * (WIDTH - MOTION)
    wrong = evaluate_motion(Known(1.0), [plane], progress=False)[str(plane)].record()
    assert wrong["flow_epe"] == pytest.approx(2**0.5 / 2)  # forward only


def test_motion_is_scaled_with_the_images(plane) -> None:
    views = open_views(plane, split="val", scale=0.5)
    scores, looks = score_motion(NoMotion(), views, exact_motion_folder(plane, "val"), limit=1, looks=1)
    assert scores.record()["flow_epe"] == pytest.approx(MOTION / 2)
    assert looks[0].image.shape[-2:] == (HEIGHT // 2, WIDTH // 2) and scores.samples == 1


def test_without_exact_motion_images_speak(plane, tmp_path) -> None:
    for side in ("left", "right"):
        (tmp_path / side).symlink_to(plane / side)
    scores = evaluate_motion(Known(), [tmp_path], progress=False)
    assert "flow_epe" not in scores[str(tmp_path)].record()
    assert "end-point" not in scores_table(scores) and "census" in scores_table(scores)


def test_the_command_compares_estimators(plane, tmp_path) -> None:
    found = {}
    for name in ("opencv", "none"):
        file = tmp_path / f"{name}.json"
        arguments = [
            "pretrain",
            "evaluate-motion",
            "--data",
            str(plane),
            "--motion",
            name,
            "--out",
            str(file),
        ]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        found[name] = json.loads(file.read_text())["scores"][str(plane)]
    assert found["opencv"]["flow_epe"] < 1 < found["none"]["flow_epe"]
