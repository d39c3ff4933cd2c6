"""Time of CUPS' object proposals (and optionally a motion estimator) at several image sizes, one thread.

    OMP_NUM_THREADS=1 PYTHONPATH=src:tests python benchmarks/cups_motion.py 160x320 256x512 640x1280

The scene is exact geometry with noise, so that nothing but this stage is measured. Original (same machine class):
160x320 about 12 s, 256x512 about 35 s, 640x1280 about 400 s for 8 runs.
"""

from __future__ import annotations

import argparse
import time

import torch

from methods.cups.motion_scene import moving_boxes
from nolabel.methods.cups.proposals import ObjectProposalConfig, object_proposals
from nolabel.models.motion import build_motion


def measure(size: str, noise: float, compat: bool) -> None:
    """Print the CPU time of all runs on one image, and what they found."""
    height, width = map(int, size.split("x"))
    motion, camera, ids = moving_boxes(height, width, noise)
    config = ObjectProposalConfig(reference_compat=compat)
    wall, cpu = time.perf_counter(), time.process_time()
    result = object_proposals(motion, camera, torch.ones_like(ids, dtype=torch.bool), config)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    mode = "reference_compat" if compat else "default"
    print(
        f"{size} {mode}: {cpu:.2f} s cpu, {wall:.2f} s wall, {result.count} objects, {result.report['motions']}"
    )


def measure_opencv(size: str) -> None:
    """Print the time of the six OpenCV passes of one stereo video sample."""
    height, width = map(int, size.split("x"))
    images = torch.rand(4, 1, 3, height, width, generator=torch.Generator().manual_seed(0))
    cpu = time.process_time()
    build_motion("opencv").stereo_video(*images)
    print(f"{size} opencv motion: {time.process_time() - cpu:.2f} s cpu")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", nargs="*", default=["160x320", "256x512", "640x1280"])
    parser.add_argument("--noise", type=float, default=0.3, help="pixels")
    arguments = parser.parse_args()
    for image_size in arguments.sizes:
        measure(image_size, arguments.noise, compat=True)
        measure(image_size, arguments.noise, compat=False)
        measure_opencv(image_size)
