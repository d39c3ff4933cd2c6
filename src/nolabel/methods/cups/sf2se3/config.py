"""Settings of the object proposals, each with its unit."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from nolabel.config import Config


class ObjectProposalConfig(Config):
    """From flow and disparity to instance masks. Defaults are the published settings (spec 4 to 6)."""

    variant: Literal["ensembled", "vanilla"] = "ensembled"
    """``ensembled``: CUPS, agreement of several runs. ``vanilla``: the motion labels of one SF2SE3 run as they are."""
    reference_compat: bool = False
    """Repeat the original's quirks; each is named in the docstring of the function that acts on it."""
    reference_area: float | None = Field(default=640 * 1280, gt=0)
    """Image area in pixels for which lengths and areas in pixels below are meant. They scale with the actual
    image; null, or ``reference_compat``, takes them as they are."""

    min_depth: float = Field(default=5.5, ge=0)
    """Metres; nearer points are not trusted (nor moved far enough away from the ego vehicle)."""
    max_depth: float = Field(default=70.0, gt=0)
    """Metres; farther points are too noisy."""
    edge_threshold: float = Field(default=0.2, gt=0)
    """Pixels whose log-disparity gradient (Sobel, not normalised) is a local maximum above this are depth edges. It
    scales against the length: the same slope takes fewer pixels of a smaller image."""
    edge_size: int = Field(default=5, ge=1)
    """Side of the square in pixels (scaled by length, at least 3) by which depth edges grow."""
    visibility_slope: float = Field(default=0.01, ge=0)
    """Forward-backward check: allowed squared deviation per squared motion."""
    visibility_offset: float = Field(default=0.5, ge=0)
    """Forward-backward check: allowed squared deviation in square pixels."""
    min_valid_pixels: int = Field(default=512, ge=0)
    """Pixels (scaled by area); with fewer valid ones the image has no proposals."""

    min_noise: float = Field(default=2.0, gt=0)
    """Pixels (scaled by length): least standard deviation assumed for flow and disparity."""
    max_noise: float = Field(default=10.0, gt=0)
    """Pixels (scaled by length): greatest standard deviation; deviations beyond it are outliers."""
    min_valid_fraction: float = Field(default=0.1, ge=0, le=1)
    """Below this fraction of consistent pixels the noise is not estimated but taken as ``min_noise``."""

    runs: int = Field(default=8, ge=1)
    """Independent SF2SE3 runs."""
    cycles: int = Field(default=6, ge=1)
    """Greedy cycles of a run."""
    grid_scale: float = Field(default=0.06, gt=0, le=1)
    """Size of the search grid relative to the image (scaled against the length: the number of points stays)."""
    clusters: int = Field(default=100, ge=1)
    """Random rigid clusters in a cycle."""
    max_cluster_points: int = Field(default=5, ge=2)
    """Points of a cluster at most."""
    cluster_radius: float = Field(default=5.0, gt=0)
    """Metres between two points of a cluster at most."""
    rigid_tolerance: float = Field(default=0.03, gt=0)
    """Metres by which the distance of two points of a cluster may change."""
    disparity_jitter: float = Field(default=0.1, ge=0)
    """Pixels (scaled by length) of disparity error between the two frames. It widens ``rigid_tolerance`` by the
    depth error it makes, without which far objects never form clusters. Not used with ``reference_compat``."""
    inlier_threshold: float = Field(default=0.0455, gt=0, lt=1)
    """Soft inliers above it are hard inliers (2 standard deviations)."""
    min_gain: float = Field(default=0.0015, ge=0)
    """Least newly explained share of the valid grid points for a motion to be chosen."""
    max_overlap: float = Field(default=0.15, ge=0, le=1)
    """Soft IoU with an earlier motion at most."""
    neighbour_sigma: float = Field(default=0.05, gt=0)
    """Standard deviation of the spatial model in normalised image coordinates (pixels / focal length)."""
    max_new_objects: int = Field(default=3, ge=1)
    """Objects taken over from one cycle at most."""
    max_objects: int = Field(default=10, ge=1)
    """Objects of one run at most."""

    max_turn: float = Field(default=0.02, gt=0)
    """``reference_compat`` only: objects that turn against the background by more than twice this (radians) go."""
    max_background_share: float = Field(default=0.7, ge=0, le=1)
    """Proposals go if the background's motion explains more than this share of their pixels. Not used with
    ``reference_compat``."""
    min_component: int = Field(default=128, ge=1)
    """Pixels (scaled by area) of a connected proposal at least."""
    connectivity: Literal[4, 8] = 8
    """Neighbourhood of connected components (published labels: 8)."""

    min_agreement: float = Field(default=0.8, ge=0, le=1)
    """Share of the runs that must agree on a proposal, averaged over its pixels."""
    nms_sigma: float = Field(default=2.0, gt=0)
    """Matrix NMS: strength of the Gaussian decay."""
    nms_threshold: float = Field(default=0.6, ge=0, le=1)
    """Matrix NMS: least decayed score."""
    growth_reach: int = Field(default=4, ge=0)
    """Pixels that objects grow over the untrusted band at their edges; 0 for none. Not used with
    ``reference_compat``."""
    growth_tolerance: float = Field(default=0.05, ge=0)
    """Share of the disparity by which a pixel may differ from the object it is taken into."""
    min_pixels: int = Field(default=64, ge=1)
    """Pixels (scaled by area) of a final object at least."""
    min_surface: float = Field(default=0.65, ge=0)
    """``reference_compat`` only: square metres of a final object at least, as a triangulation of its points measures it
    (noise and concave gaps make that larger than the object)."""
    min_frontal_surface: float = Field(default=0.25, ge=0)
    """Square metres of a final object at least, as a mask that faces the camera. A standing person has about 0.5."""

    def for_image(self, height: int, width: int) -> ObjectProposalConfig:
        """Return the settings with pixel lengths and areas scaled to an image of this size."""
        if self.reference_area is None or self.reference_compat:
            return self
        area = height * width / self.reference_area
        length = math.sqrt(area)
        return self.model_copy(
            update={
                "reference_area": None,
                "min_valid_pixels": round(self.min_valid_pixels * area),
                "edge_threshold": self.edge_threshold / length,
                "edge_size": max(3, 2 * round((self.edge_size * length - 1) / 2) + 1),
                "min_noise": self.min_noise * length,
                "max_noise": self.max_noise * length,
                "disparity_jitter": self.disparity_jitter * length,
                "grid_scale": min(1.0, self.grid_scale / length),
                "min_component": max(1, round(self.min_component * area)),
                "min_pixels": max(1, round(self.min_pixels * area)),
            }
        )
