"""Seconds for one 512 x 1024 image through the official-size panoptic network, by part.

    PYTHONPATH=src:tests python benchmarks/cups_network.py [--device cpu] [--threads 1] [--size tiny] [--repeat 3]

The original needs 10.7 to 13.2 processor seconds on one thread for the same network, size and 100 detections.
Weights are the procedural ones of the golden cases, or random without them; the score threshold is lowered so that
1000 proposals and 100 detections are worked on, as in the original's measurement.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig, PanopticTarget

Result = TypeVar("Result")


def network(size: str, device: str) -> PanopticCascadeMaskRCNN:
    """Build the network with heads lively enough to detect something everywhere."""
    torch.manual_seed(0)
    config = {"official": PanopticConfig, "tiny": PanopticConfig.tiny}[size](confidence_threshold=0.05)
    model = PanopticCascadeMaskRCNN(config)
    with torch.no_grad():
        for predictor in model.roi_heads.box_predictor:
            predictor.cls_score.weight.mul_(40)
            predictor.bbox_pred.weight.mul_(40)
        model.proposal_generator.rpn_head.objectness_logits.weight.mul_(20)
    return model.eval().to(device)


class Clock:
    """Adds up processor seconds (wall seconds on an accelerator) of named parts."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, dict[str, float]()

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """Run ``work`` and note its time."""
        start = self._now()
        result = work()
        self.seconds[name] = self._now() - start
        return result

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


@torch.no_grad()
def parts(model: PanopticCascadeMaskRCNN, image: torch.Tensor, clock: Clock) -> None:
    """Time the parts of a prediction."""
    features = clock("backbone and pyramid", lambda: model.extract(image))
    pyramid = list(features.pyramid.values())
    scores = clock("anchor scores", lambda: model.proposal_generator.score_anchors(pyramid))
    selection = model.config.proposals.inference
    proposals = clock(
        "proposals", lambda: model.proposal_generator.propose(scores, features.image_sizes, selection)
    )
    levels, boxes = features.region_levels, [p.boxes for p in proposals]
    detections = clock("cascade", lambda: model.roi_heads.detect(levels, boxes, features.image_sizes))
    masks = clock("masks", lambda: model.mask_probabilities(levels, detections))
    logits = clock("semantic head", lambda: model.sem_seg_head(features.pyramid))
    size = features.image_sizes[0]
    clock("paste and merge", lambda: model._assemble(logits[0], detections[0], masks[0], size, size))
    print(f"{len(boxes[0])} proposals, {len(detections[0].boxes)} detections")


def training_step(model: PanopticCascadeMaskRCNN, image: torch.Tensor) -> None:
    """Run one forward and backward pass with eight square objects."""
    height, width = image.shape[-2:]
    instances = torch.zeros(height, width, dtype=torch.int64)
    side = height // 8
    corners = [(row * 2 * side, column * 3 * side) for row in range(2) for column in range(4)]
    for number, (top, left) in enumerate(corners, start=1):
        instances[top : top + side, left : left + side] = number
    boxes = torch.tensor([(x, y, x + side, y + side) for y, x in corners], dtype=torch.float32)
    target = PanopticTarget(
        boxes=boxes,
        classes=torch.zeros(8, dtype=torch.int64),
        instances=instances,
        semantic=instances.clamp(max=1),
    )
    sum(model(image, [target] * len(image)).values()).backward()  # type: ignore[union-attr]


def main() -> None:
    """Print the seconds of every part and of the whole."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--size", choices=("official", "tiny"), default="official")
    arguments.add_argument("--image", type=int, nargs=2, default=(512, 1024))
    arguments.add_argument("--repeat", type=int, default=2)
    arguments.add_argument("--train", action="store_true", help="also time a training step")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    model = network(options.size, options.device)
    image = torch.rand(1, 3, *options.image, generator=torch.Generator().manual_seed(0)).to(options.device)
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, image {tuple(options.image)}"
    )
    for _ in range(options.repeat):
        clock = Clock(options.device)
        parts(model, image, clock)
        clock("predict, all in one", lambda: model.predict(image))
        if options.train:
            clock("training step", lambda: training_step(model.train(), image))
            model.eval()
        for name, seconds in clock.seconds.items():
            print(f"  {name:24s} {seconds:7.3f} s")


if __name__ == "__main__":
    main()
