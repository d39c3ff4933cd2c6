"""A tiny labelled video in the layout of VIPER, one of another style to adapt to, and settings that take seconds."""

from nolabel.config import load_config
from nolabel.methods.quadmix.video_settings import VideoConfig
from nolabel.world import Rig, WorldSettings, write_world

RIG = Rig((32, 64))
MIXING = {
    "start": 2,
    "always_rare": True,
    "target_drawn": "store",
    "rare_last": False,
    "min_confidence": 0.0,
    "rare": {
        "classes": [0, 2, 3, 6],
        "number": 2,
        "min_pixels": 5,
        "content": "iteration",
        "ascending": True,
    },
}
SETTINGS = {
    "space": "viper_15",
    "network": {"name": "accel_deeplab_tiny", "options": {"head_channels": 8}},
    "source_frames": {"size": None},
    "target_frames": {"size": None},
    "flow": {"estimator": "opencv"},
    "fit": {
        "steps": 4,
        "batch_size": 2,
        "seed": 3,
        "checkpoint_every": 2,
        "log_every": 1,
        "accelerator": "cpu",
    },
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "warmup_steps": 1},
    "temporal": {"teacher": None, "weight": 0.5, "strong_view": {"blur": 1.0, "jitter": 1.0}},
    "mixing": MIXING,
}


def write_videos(folder):
    """Source and target, with exact flow under ``flow``."""
    for name, layout, style, seed, frames in (
        ("source", "viper", "synthetic", 1, 2),
        ("target", "cityscapes_seq", "real", 11, 3),
    ):
        write_world(
            folder / name,
            WorldSettings(layout, style=style, scenes=3, frames=frames, rig=RIG, seed=seed, motion=True),
        )
    return folder


def settings(folder, **changes):
    """Settings of a training on these videos; sections that are given replace those above."""
    parts = {
        "source": [{"root": folder / "source"}],
        "target": [{"root": folder / "target"}],
        "validation": {"root": folder / "target", "split": "train"},
    }
    return load_config(VideoConfig, **{**SETTINGS, **parts, **changes})
