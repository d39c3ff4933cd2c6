"""Settings under which a training on images takes a second, on the two tiny domains of a test."""

from pathlib import Path

import numpy as np

from nolabel.methods.quadmix.image_data import image_settings
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.structures.files import write_png

COLOURS = np.array([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9]])
PYRAMID = ["network.name=tiny", "network.options={width: 8}"]
HRDA = [
    "network.name=hrda_mit_b0",
    "network.options={width: 8, detail_size: 16, drop_path: 0.1}",
]
COMMON = [
    "fit.steps=4",
    "fit.batch_size=2",
    "fit.seed=3",
    "fit.checkpoint_every=1",
    "fit.log_every=1",
    "optimizer.learning_rate=0.001",
    "optimizer.warmup_steps=0",
    "source_view={crop: [32, 32], resize: null}",
    "target_view={crop: [32, 32], resize: null, margins: [2, 2, 2, 2]}",
    "rare_classes={min_pixels: 1, min_crop_pixels: 1, temperature: 0.5}",
    "feature_distance=null",
    "patch_frames=[32, 48]",
]
MASKED = "adaptation.masked={mask: {block: 8, ratio: 0.5}}"
MIXING = "mixing={start: 1, rare: {classes: [0, 2], number: 2, min_pixels: 3}}"
METHODS = {
    "source_only": ["adaptation=null"],
    "dacs": ["rare_classes=null"],
    "mic": [MASKED],
    "quadmix": [MASKED, MIXING],
}


def write_world(folder: Path) -> Path:
    """Two domains with the same squares in other colours."""
    for domain, tint, seed in (("source", np.ones(3), 0), ("target", np.array([0.6, 0.7, 0.9]), 1)):
        generator = np.random.default_rng(seed)
        for index in range(5):
            labels = generator.integers(0, 3, (4, 6)).repeat(8, 0).repeat(8, 1)
            image = COLOURS[labels] * tint + 0.1 * generator.random((32, 48, 3))
            write_png(
                folder / domain / "images" / f"{index:02d}.png", (255 * image.clip(0, 1)).astype(np.uint8)
            )
            write_png(folder / domain / "labels" / f"{index:02d}.png", labels.astype(np.uint8))
    return folder


def settings(world: Path, method: str, *overrides: str, network: list[str] | None = None) -> ImageConfig:
    """Settings of a method on the world."""
    return image_settings(
        None,
        [*COMMON, *(network or PYRAMID), *METHODS[method], *overrides],
        source=[world / "source"],
        target=[world / "target"],
        validation=world / "target",
    )
