import cv2
import numpy as np
import torch

from nolabel.models.motion import MotionEstimator, build_motion
from nolabel.models.motion.opencv import fill_rows


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random texture (H, W, 3) in [0, 1] that a matcher can follow."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]


def test_is_a_motion_estimator() -> None:
    assert isinstance(build_motion("opencv"), MotionEstimator)


def test_flow_of_a_shifted_texture() -> None:
    scene = texture(120, 200)
    first, second = image(scene[10:110, 20:180]), image(scene[13:113, 15:175])
    flow = build_motion("opencv").flow(first, second)  # content moves by +5 columns and -3 rows
    inner = flow[0, :, 20:-20, 20:-20]
    assert (inner[0] - 5).abs().mean() < 0.1
    assert (inner[1] + 3).abs().mean() < 0.1


def test_disparity_of_both_references() -> None:
    scene = texture(100, 260)
    shift = 12
    left, right = image(scene[:, 20:220]), image(scene[:, 20 + shift : 220 + shift])
    estimator = build_motion("opencv")
    for reference in ("left", "right"):
        disparity = estimator.disparity(left, right, reference=reference)
        assert disparity.shape == (1, 1, 100, 200)
        assert (disparity[..., 10:-10, 30:-30] - shift).abs().mean() < 0.1, reference


def test_repeats_exactly_and_leaves_the_thread_setting() -> None:
    scene = texture(100, 200)
    left, right = image(scene[:, 8:]), image(scene[:, :-8])
    threads = cv2.getNumThreads()
    estimator = build_motion("opencv")
    a, b = (estimator.stereo_video(left, right, right, left) for _ in range(2))
    assert torch.equal(a.disparity_0, b.disparity_0)
    assert torch.equal(a.flow_forward, b.flow_forward)
    assert cv2.getNumThreads() == threads


def test_unknown_pixels_take_the_farther_side() -> None:
    values = np.array([[9, 5, 9, 9, 2, 9], [9, 9, 9, 9, 9, 9]], np.float32)
    known = np.zeros((2, 6), bool)
    known[0, [1, 4]] = True
    filled = fill_rows(values, known)
    assert filled.tolist() == [[5, 5, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]]
