"""A stereo video sample of the procedural world, rendered once in a process of its own and read by many rows.

python -m benchmarks.cups.scene 640 1280 FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nolabel.models.motion import StereoMotion
from nolabel.structures import StereoCalibration, StereoVideoSample
from nolabel.world import Renderer, Rig, generate_scene, render_stereo_video

SEED = 3
NOISE = 0.3  # pixels; about what a flow network leaves
BORDER = 0.075  # share of the columns at each side that do not count, as in Cityscapes


@dataclass(frozen=True)
class BenchScene:
    """Images, true motion with Gaussian noise, and the true instances of one stereo video sample."""

    sample: StereoVideoSample
    motion: StereoMotion
    instances: Tensor

    @property
    def images(self) -> tuple[Tensor, ...]:
        """left_0, right_0, left_1, right_1 as (1, 3, H, W)."""
        s = self.sample
        return tuple(image[None] for image in (s["left_0"], s["right_0"], s["left_1"], s["right_1"]))


def scene_file(folder: Path, size: tuple[int, int]) -> Path:
    """Return where the scene of (height, width) lies."""
    return folder / f"scene_{size[0]}x{size[1]}.pt"


def render_scene(size: tuple[int, int], path: Path) -> None:
    """Render the scene and write it."""
    rig = Rig(size)
    truth = render_stereo_video(Renderer(generate_scene(SEED), "real", rig))
    generator = torch.Generator().manual_seed(0)

    def noisy(maps: Tensor) -> Tensor:
        return maps + NOISE * torch.randn(maps.shape, generator=generator)

    frames = (truth.left_0, truth.right_0, truth.left_1, truth.right_1)
    flows = [noisy(flow)[None] for flow in (truth.flow_forward, truth.flow_backward)]
    disparities = [noisy(frame.disparity).clamp(min=0)[None, None] for frame in frames]
    left_0, right_0, left_1, right_1 = disparities
    calibration = rig.calibration()
    torch.save(
        {
            "images": [frame.image for frame in frames],
            "motion": [*flows, left_0, left_1, right_0, right_1],
            "instances": truth.left_0.instance,
            "calibration": [getattr(calibration, name) for name in ("fx", "fy", "cx", "cy", "baseline")],
        },
        path,
    )


def load_scene(folder: Path, size: tuple[int, int], device: str = "cpu") -> BenchScene:
    """Read a scene written by :func:`render_scene`."""
    content = torch.load(scene_file(folder, size), weights_only=True)
    left_0, right_0, left_1, right_1 = (image.to(device) for image in content["images"])
    valid = torch.ones(size, dtype=torch.bool, device=device)
    columns = round(BORDER * size[1])
    valid[:, :columns], valid[:, -columns:] = False, False
    sample = StereoVideoSample(
        name="benchmark",
        left_0=left_0,
        right_0=right_0,
        left_1=left_1,
        right_1=right_1,
        valid=valid,
        calibration=StereoCalibration(*content["calibration"]),
    )
    motion = StereoMotion(*content["motion"]).to(device)
    return BenchScene(sample, motion, content["instances"].to(device))


if __name__ == "__main__":
    wanted = int(sys.argv[1]), int(sys.argv[2])
    render_scene(wanted, scene_file(Path(sys.argv[3]), wanted))
