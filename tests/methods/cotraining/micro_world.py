"""Two tiny domains as folders, and settings under which the whole loop takes seconds."""

import numpy as np

from nolabel.config import load_config
from nolabel.data.domain_images import DataPart, open_source, open_target, open_validation
from nolabel.methods.cotraining.settings import PipelineConfig
from nolabel.structures.files import write_png

COLOURS = np.array([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9]])
SPACE = "cityscapes_19"

FIT = {"steps": 3, "batch_size": 2, "seed": 5, "checkpoint_every": 2}
CHANGES = {"crop": [32, 32], "shortest_edges": [32, 40]}
TRAINING = {"fit": FIT, "learning_rate": 0.02, "warmup_steps": 1, "source": CHANGES}
MIXED = {**TRAINING, "targets": 1, "target": CHANGES}
LABELS = {
    "size": {"shortest_edge": 32, "longest_edge": 64},
    "images": 3,
    "keep": 2,
    "lowest": 0.0,
    "recompute_cycles": 1,
}
SETTINGS = {
    "network": {"name": "tiny"},
    "baseline": TRAINING,
    "self_training": {"cycles": 2, "labels": LABELS, "training": MIXED},
    "co_training": {"cycles": 2, "labels": LABELS, "training": MIXED, "min_pixels": 0},
    "final_labels": {"size": LABELS["size"]},
    "final": {**MIXED, "mix": "none"},
}


def write_domain(root, count, tint, seed):
    generator = np.random.default_rng(seed)
    for index in range(count):
        labels = generator.integers(0, 3, (4, 6)).repeat(8, 0).repeat(8, 1)
        image = COLOURS[labels] * tint + 0.1 * generator.random((32, 48, 3))
        write_png(root / "images" / f"{index:02d}.png", (255 * image.clip(0, 1)).astype(np.uint8))
        write_png(root / "labels" / f"{index:02d}.png", labels.astype(np.uint8))
    return root


def write_world(folder):
    write_domain(folder / "source", 5, np.ones(3), 0)
    write_domain(folder / "target", 5, np.array([0.6, 0.7, 0.9]), 1)
    return folder


def open_world(folder):
    """Source, target and validation images."""
    source = open_source([DataPart(root=folder / "source")], SPACE)
    target = open_target([DataPart(root=folder / "target")])
    return source, target, open_validation(DataPart(root=folder / "target"), SPACE)


def settings(**changes):
    return load_config(PipelineConfig, **{**SETTINGS, **changes})
