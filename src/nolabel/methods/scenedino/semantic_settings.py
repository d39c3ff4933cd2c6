"""Settings of stage 2, in which features are split into classes; the defaults are the published ones.

Source: SceneDINO specification, 2.4 and 8.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nolabel.config import Config
from nolabel.engine.fit import FitConfig
from nolabel.methods.scenedino.semantic_losses import StegoConfig
from nolabel.methods.scenedino.training_data import PosedDataConfig

__all__ = ["SemanticHeadConfig", "SemanticLookConfig", "SemanticTrainingConfig", "SurfaceConfig"]


class SemanticHeadConfig(Config):
    """The semantic head."""

    code: int = Field(64, gt=0)
    """Channels of the code."""
    clusters: int = Field(19, gt=1)
    """Centres of both cluster heads; more than there are classes over-cluster."""
    classes: int = Field(19, gt=1)
    """Classes of the labels, and of the probes."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the channels dropped, of features and of codes."""
    hidden_probes: bool = False
    """Probes with a layer of twice the width instead of linear ones."""


class SurfaceConfig(Config):
    """Which features the code is learned from."""

    mode: Literal["3d", "2d"] = "3d"
    """``3d``: points in balls around surface points; ``2d``: five crops of the rendered picture (ablation)."""
    samples: int = Field(576, gt=1)
    """Points of a neighbourhood (``3d``)."""
    radius: float = Field(0.5, gt=0)
    """Of the balls, metres (``3d``)."""
    step: int = Field(4, gt=0)
    """Every how many pixels a crop is read (``2d``)."""


class SemanticLookConfig(Config):
    """What the training is looked at by (fit.validate_every, and at the end), where labelled data for that is given.

    The scores match clusters with classes, and that match is written into the network: labels decide what the clusters are
    called, not what they are.
    """

    samples: int = Field(32, gt=0)
    """Scenes that are scored, drawn once."""
    pictures: int = Field(4, ge=0)
    """Scenes that are drawn (``pictures/step_*.png``)."""
    keep: Literal["best", "last"] = "best"
    """Which head the run ends with: that of the best weighted mIoU of the code's clusters, or the last."""


class SemanticTrainingConfig(Config):
    """Stage 2."""

    fit: FitConfig = FitConfig(
        steps=1000,
        batch_size=4,
        seed=0,
        precision="bf16-mixed",
        workers=4,
        log_every=100,
        checkpoint_every=100,
        validate_every=100,
    )
    """Steps, batch, seed, precision, devices."""
    data: PosedDataConfig = PosedDataConfig()
    """Which scenes."""
    head: SemanticHeadConfig = SemanticHeadConfig()
    """What is trained."""
    stego: StegoConfig = StegoConfig()
    """Weights and shifts of the correlation losses."""
    surface: SurfaceConfig = SurfaceConfig()
    """Where the code is learned."""
    buffer: int = Field(256, gt=0)
    """Neighbourhoods that are remembered to find partners among."""
    neighbours: int = Field(4, gt=0)
    """Most similar neighbourhoods that one is drawn from."""
    rays: int | None = Field(None, gt=0)
    """Pixels of a scene that are rendered for surface, clusters and probes, drawn anew in each step; all by default."""
    samples: int = Field(32, gt=1)
    """On each ray."""
    near: float = Field(3.0, gt=0)
    """Where rays begin, metres."""
    far: float = Field(80.0, gt=0)
    """Where they end, metres."""
    chunk: int = Field(65536, gt=0)
    """Points that are looked at at once."""
    side_views: float = Field(0.5, ge=0, le=1)
    """Share of the steps that look at a side camera's image (views 4 and on, else any but view 0): no labels there."""
    learning_rate: float = Field(5e-4, gt=0)
    """Of the code."""
    heads_rate: float = Field(10.0, gt=0)
    """Factor of the rates of clusters and probes."""
    look: SemanticLookConfig = SemanticLookConfig()
    """What is scored."""
    reference_compat: bool = False
    """As executed: similar neighbourhoods are also looked for among slots never written (zeros), and partners' dropout drops
    a channel at a point of all neighbourhoods."""
