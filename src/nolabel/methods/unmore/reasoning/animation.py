"""The picture of the process: proposals are tested, split, shrink and grow until they fit (after the paper's figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from nolabel.methods.unmore.reasoning.boundary import CONVERGED, MOVING, REJECTED
from nolabel.methods.unmore.reasoning.steps import Step
from nolabel.structures import Instances
from nolabel.viz.animation import write_animation
from nolabel.viz.colours import Picture, to_picture
from nolabel.viz.layout import caption, resize

__all__ = ["process_pictures", "write_process"]

COLOURS = {REJECTED: (230, 60, 60), MOVING: (255, 190, 40), CONVERGED: (70, 220, 100)}
HEIGHT = 360  # pixels of the pictures
LONG, SHORT = 1.5, 0.18  # seconds


def process_pictures(
    image: Any, steps: Sequence[Step], objects: Instances | None = None
) -> tuple[list[Picture], list[float]]:
    """Draw every step: open boxes yellow, those that fit green, those dropped in this step red.

    Args:
        image: what reasoning looked at.
        steps: of this image.
        objects: drawn in a last picture.

    Returns:
        Pictures of one size, and for how many seconds to show each.
    """
    background = resize(to_picture(image), height=HEIGHT)
    scale = HEIGHT / to_picture(image).shape[0]
    pictures, seconds = [], []
    for step in steps:
        counts = [
            f"{int((step.labels == label).sum())} {word}"
            for label, word in _WORDS
            if (step.labels == label).any()
        ]
        pictures.append(
            caption(_draw(background, step, scale), f"{step.name}: {', '.join(counts) or 'no boxes'}")
        )
        seconds.append(SHORT if step.name.startswith("boundary") else LONG)
    if objects is not None:
        drawn = resize(objects.overlay(image), height=HEIGHT)
        pictures.append(caption(drawn, f"masks: {len(objects)} objects"))
        seconds.append(2 * LONG)
    return pictures, seconds


def write_process(path: Path, image: Any, steps: Sequence[Step], objects: Instances | None = None) -> Path:
    """Write the pictures of :func:`process_pictures` as an animation: ``.gif``, ``.png`` or ``.webp``."""
    pictures, seconds = process_pictures(image, steps, objects)
    return write_animation(path, pictures, seconds)


_WORDS = ((MOVING, "open"), (CONVERGED, "fit"), (REJECTED, "dropped"))


def _draw(background: Picture, step: Step, scale: float) -> Picture:
    """Draw the boxes of a step; the more there are, the fainter the open ones."""
    canvas = Image.fromarray((background * 0.7).astype(np.uint8))
    draw = ImageDraw.Draw(canvas, "RGBA")
    faint = int(np.clip(8000 / (len(step.boxes) + 1), 50, 230))
    for label in (REJECTED, MOVING, CONVERGED):
        alpha, width = (230, 2) if label == CONVERGED else (faint, 1)
        for x1, y1, x2, y2 in (step.boxes[step.labels == label] * scale).tolist():
            corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
            draw.rectangle(corners, outline=(*COLOURS[label], alpha), width=width)
    return np.asarray(canvas)
