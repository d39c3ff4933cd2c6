"""What defines a panoptic network: its widths, and the thresholds it works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from nolabel.errors import ConfigError
from nolabel.models.backbones import ResNetConfig
from nolabel.models.detection import CascadeConfig, ProposalConfig
from nolabel.models.detection.plain import from_plain
from nolabel.models.detection.proposals import ProposalSelection

__all__ = ["PanopticConfig"]


@dataclass(frozen=True)
class PanopticConfig:
    """Panoptic Cascade Mask R-CNN; the defaults are the network of the released CUPS checkpoint.

    Source: CUPS specification, section 2.

    Attributes:
        num_things: thing clusters T.
        num_stuff: stuff clusters S; the semantic head has S + 1 channels, channel 0 = "some thing".
        resnet: widths and depths of the backbone.
        pyramid_channels: channels of p2 .. p6.
        semantic_channels, semantic_norm_groups: width of the semantic head and groups of its normalisation.
        semantic_loss_weight: factor of ``loss_sem_seg``.
        semantic_class_weights: factor of every semantic channel in the loss (S + 1 numbers), or ``None``.
        proposals: region proposal network.
        cascade: region heads; ``cascade.num_classes`` is always ``num_things``.
        confidence_threshold: score of the instances in the panoptic map (and of the detections).
        overlap_limit: an instance hidden by better ones to a larger part is dropped.
        stuff_area_limit: stuff regions with fewer pixels become void, whatever the image size.
    """

    num_things: int = 5
    num_stuff: int = 22
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    pyramid_channels: int = 256
    semantic_channels: int = 128
    semantic_norm_groups: int = 32
    semantic_loss_weight: float = 0.5
    semantic_class_weights: tuple[float, ...] | None = None
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    confidence_threshold: float = 0.5
    overlap_limit: float = 0.5
    stuff_area_limit: int = 4096

    def __post_init__(self) -> None:
        """Check the numbers and hand the shared ones to the region heads."""
        if self.num_things < 1 or self.num_stuff < 1:
            raise ConfigError(
                f"a panoptic network needs things and stuff, not {self.num_things} things, {self.num_stuff} stuff",
                hint="check the thing/stuff split of the pseudo labels",
            )
        weights = self.semantic_class_weights
        if weights is not None and len(weights) != self.num_stuff + 1:
            raise ConfigError(
                f"semantic_class_weights has {len(weights)} numbers for {self.num_stuff + 1} channels",
                hint="give one weight for 'thing' and one for every stuff cluster, in this order",
            )
        cascade = replace(
            self.cascade, num_classes=self.num_things, score_threshold=self.confidence_threshold
        )
        object.__setattr__(self, "cascade", cascade)

    @classmethod
    def tiny(cls, num_things: int = 5, num_stuff: int = 22, **changes: Any) -> Self:
        """Return a network of about three million parameters for small images and processors without an accelerator."""
        settings: dict[str, Any] = {
            "resnet": ResNetConfig(32, 64, 16, (2, 2, 3, 2)),
            "pyramid_channels": 64,
            "semantic_channels": 64,
            "semantic_norm_groups": 16,
            "proposals": ProposalConfig(
                anchor_sizes=(16, 32, 64, 128, 256),
                training=ProposalSelection(per_level=300, per_image=400),
                inference=ProposalSelection(per_level=150, per_image=200),
            ),
            "cascade": CascadeConfig(
                box_channels=192, mask_channels=64, samples_per_image=128, detections_per_image=50
            ),
            "stuff_area_limit": 64,
        }
        return cls(num_things=num_things, num_stuff=num_stuff, **(settings | changes))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries, for YAML and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from :meth:`to_dict` (lists may stand for tuples).

        Raises:
            ConfigError: a key that does not exist.
        """
        return from_plain(cls, values)
