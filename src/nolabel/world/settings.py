"""What a world is made of, and which files are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from nolabel.errors import ConfigError
from nolabel.world.render import Rig
from nolabel.world.styles import get_style

__all__ = ["Layout", "WorldSettings"]

Layout = Literal[
    "cityscapes",
    "folder",
    "gta5",
    "coco",
    "photographs",
    "viper",
    "synthia_seq",
    "cityscapes_seq",
    "kitti360",
]
OFFICIAL_ANNOTATED_FRAME = 19  # of the 30 frames of a Cityscapes snippet


@dataclass(frozen=True)
class WorldSettings:
    """What is rendered and which files are written.

    layout: `cityscapes` or `folder` (stereo video), `gta5` (labelled single images), `coco` (single images and the masks
    of their things), `photographs` (the same, each a window around one thing), `viper`, `synthia_seq` or
    `cityscapes_seq` (video of one camera: all frames labelled, or frame 19 of each clip); style: see `STYLES`;
    scenes: number of clips;
    frames: per clip; rig: the camera; seed: scene i uses seed + i; split, city: names in the Cityscapes layout;
    annotate_all: labels for every left frame (otherwise for frame 19 of long clips and frame 0 of short ones; `gta5`,
    `coco` and `photographs` label all); disparity: 16-bit disparity PNGs; truth: NPZ files with depth, disparity, flow,
    visibility, semantics, instances and poses; motion: exact flow and disparity, as `nolabel.data.motion_files` reads it,
    under motion/ (in the Cityscapes layout motion/<split>/); in the video layouts flow into earlier frames, as
    `nolabel.data.FlowFiles` reads it, under flow/.
    `kitti360`: two perspective and two side cameras, poses, labels, LiDAR and, for the annotated frames, voxels; the
    field of view is KITTI-360's whatever the rig says. side_pictures: the perspective pictures that are made of the side
    cameras' fisheye images, rendered directly, instead of those (a quarter of the time).
    """

    layout: Layout = "cityscapes"
    style: str = "real"
    scenes: int = 50
    frames: int = 2
    rig: Rig = field(default_factory=Rig)
    seed: int = 0
    split: str = "train"
    city: str = "world"
    annotate_all: bool = False
    disparity: bool = False
    truth: bool = False
    motion: bool = False
    side_pictures: bool = False

    def __post_init__(self) -> None:
        get_style(self.style)
        if self.layout not in get_args(Layout):
            raise ConfigError(
                f"unknown layout {self.layout!r}", hint=f"choose {' or '.join(get_args(Layout))}"
            )
        if self.scenes < 1 or self.frames < 1 or self.seed < 0:
            raise ConfigError("scenes and frames must be at least 1 and seed at least 0")
        if "_" in self.city or "/" in self.city or not self.city:
            raise ConfigError(f"city {self.city!r} must be a name without '_' and '/'")

    def annotated(self) -> range:
        """The frames of a clip that get labels."""
        if self.annotate_all:
            return range(self.frames)
        first = OFFICIAL_ANNOTATED_FRAME if self.frames > OFFICIAL_ANNOTATED_FRAME else 0
        return range(first, first + 1)
