"""The detector of unMORE (as of CutLER and CuVLER): Cascade Mask R-CNN for objects of no particular class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.models.backbones import ResNetConfig
from nolabel.models.detection.cascade import CascadeConfig
from nolabel.models.detection.cascade_network import CascadeMaskRCNN
from nolabel.models.detection.instance_prediction import InstancePrediction, place_instances
from nolabel.models.detection.plain import from_plain
from nolabel.models.detection.proposals import ProposalConfig, ProposalSelection
from nolabel.models.detection.sampling import RandomSampler, Sampler
from nolabel.models.detection.targets import DetectionTarget

__all__ = ["ClassAgnosticConfig", "ClassAgnosticMaskRCNN"]


@dataclass(frozen=True)
class ClassAgnosticConfig:
    """Class-agnostic Cascade Mask R-CNN; the defaults are the published network (unMORE specification 9).

    Attributes:
        resnet: widths and depths of the backbone.
        pyramid_channels: channels of p2 .. p6.
        proposals: region proposal network.
        cascade: region heads; their ``num_classes`` is always 1.
    """

    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    pyramid_channels: int = 256
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    cascade: CascadeConfig = field(
        default_factory=lambda: CascadeConfig(score_threshold=0.0, drop_loss_threshold=0.01)
    )

    def __post_init__(self) -> None:
        """Leave one class."""
        object.__setattr__(self, "cascade", replace(self.cascade, num_classes=1))

    @classmethod
    def tiny(cls, **changes: Any) -> Self:
        """Return a network of about two million parameters for small images and processors without an accelerator."""
        settings: dict[str, Any] = {
            "resnet": ResNetConfig(32, 64, 16, (2, 2, 3, 2)),
            "pyramid_channels": 64,
            "proposals": ProposalConfig(
                anchor_sizes=(16, 32, 64, 128, 256),
                training=ProposalSelection(per_level=300, per_image=400),
                inference=ProposalSelection(per_level=200, per_image=200),
            ),
            "cascade": CascadeConfig(
                box_channels=192,
                mask_channels=64,
                samples_per_image=128,
                score_threshold=0.0,
                drop_loss_threshold=0.01,
            ),
        }
        return cls(**(settings | changes))

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


class ClassAgnosticMaskRCNN(CascadeMaskRCNN):
    """Cascade Mask R-CNN with one class, "object", and masks.

    Args:
        config: widths and thresholds; the default is the network of the released checkpoints.
    """

    def __init__(self, config: ClassAgnosticConfig | None = None) -> None:
        chosen = config or ClassAgnosticConfig()
        super().__init__(chosen.resnet, chosen.pyramid_channels, chosen.proposals, chosen.cascade)
        self.config = chosen

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[DetectionTarget] | None = None,
        *,
        sampler: Sampler | None = None,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[InstancePrediction] | dict[str, Tensor]:
        """Predict, or with ``targets`` return the training losses.

        Args:
            images: (B, 3, H, W) or B images (3, H_i, W_i) of any sizes, RGB in 0 .. 1.
            targets: one for each image; all classes are 0. Images without objects are fine.
            sampler: choice of the anchors and boxes that enter the losses; random by default.
            output_sizes: (height, width) of each prediction; the size of its image by default.
        """
        if targets is None:
            return self.predict(images, output_sizes)
        return self.losses(images, targets, sampler)

    @torch.no_grad()
    def predict(
        self, images: Tensor | Sequence[Tensor], output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[InstancePrediction]:
        """Return the objects of every image, at the given output sizes or that of the image."""
        features = self.extract(images)
        levels = features.region_levels
        detections = self.detect(features, levels)
        probabilities = self.mask_probabilities(levels, detections)
        sizes = output_sizes or features.image_sizes
        return [
            place_instances(*row)
            for row in zip(detections, probabilities, features.image_sizes, sizes, strict=True)
        ]

    def losses(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[DetectionTarget],
        sampler: Sampler | None = None,
    ) -> dict[str, Tensor]:
        """Return the nine losses by their official names; their plain sum is minimised.

        Raises:
            DataError: boxes that do not fit their objects.
        """
        targets = [target.to(self.pixel_mean.device) for target in targets]
        for target in targets:
            if target.boxes.shape != (len(target), 4):
                raise DataError(f"{len(target)} objects but boxes of shape {tuple(target.boxes.shape)}")
        return self.instance_losses(self.extract(images), targets, sampler or RandomSampler())
