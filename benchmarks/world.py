"""Seconds per stereo pair of the procedural world, with all ground truth.

    PYTHONPATH=src python benchmarks/world.py [--size 256x512] [--threads 2] [--device cpu] [--scenes 6]

One row per style: `pair` is both eyes at one instant with depth, disparity, semantics and instances; `stereo video` is
both eyes at two instants with flow, visibility and rigid motions as well.
"""

from __future__ import annotations

import argparse
import time

import torch

from nolabel.world import STYLES, Renderer, Rig, generate_scene, render_stereo_video


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    height, width = (int(value) for value in options.size.split("x"))
    rig = Rig((height, width))
    print(f"{height}x{width}, {options.device}, {options.threads} threads, mean of {options.scenes} scenes")
    print(f"{'style':12}{'pair [s]':>12}{'stereo video [s]':>20}")

    def clock() -> float:
        if options.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    for style in STYLES:
        Renderer(generate_scene(0), style, rig, options.device).frame(0.0)  # warm up
        renderers = [
            Renderer(generate_scene(seed), style, rig, options.device) for seed in range(options.scenes)
        ]
        start = clock()
        for renderer in renderers:
            renderer.frame(0.0, "left"), renderer.frame(0.0, "right")
        middle = clock()
        for renderer in renderers:
            render_stereo_video(renderer)
        end = clock()
        print(f"{style:12}{(middle - start) / options.scenes:12.3f}{(end - middle) / options.scenes:20.3f}")


if __name__ == "__main__":
    main()
