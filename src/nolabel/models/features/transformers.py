"""Any image backbone of timm as a dense feature extractor, with weights from a local file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor

from nolabel.errors import ConfigError, WeightsError
from nolabel.models.features.extractor import (
    FeatureExtractor,
    ImageNetNormalised,
    SceneGeometry,
    resize_to_multiple,
)
from nolabel.models.pointwise import use_fast_products


class TimmFeatures(FeatureExtractor):
    """Patch tokens of a ViT's last block, or the last map of a CNN up to ``max_stride``.

    Position embeddings are interpolated to the size of each image.

    Args:
        architecture: timm model name, for instance ``vit_small_patch14_dinov2``.
        max_stride: a CNN's deepest map with at most this stride is taken.
        scale: the image is resized by this factor first; above 1 gives finer cells at a higher cost.
        output_stride: of a CNN's deepest map, lowered by dilation (timm's ResNets: 8, 16); its own by default.
        drop_path: share of the residual branches of a ViT that are left out while training.

    Raises:
        ConfigError: timm has no such model, or it has no feature maps.
    """

    def __init__(
        self,
        architecture: str,
        max_stride: int = 16,
        scale: float = 1.0,
        output_stride: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.architecture, self.scale = architecture, scale
        self.normalise = ImageNetNormalised()
        if not timm.is_model(architecture):
            near = timm.list_models(f"*{architecture.split('.')[0][:12]}*")[:5]
            raise ConfigError(
                f"timm has no model {architecture!r}", hint=f"near names: {', '.join(near) or 'none'}"
            )
        self.network: Any  # timm's models share no typed interface
        self.is_transformer = "vit" in architecture
        if self.is_transformer:
            self.network = timm.create_model(
                architecture,
                pretrained=False,
                num_classes=0,
                dynamic_img_size=True,
                drop_path_rate=drop_path,
            )
            self.cell = int(self.network.patch_embed.patch_size[0])
            self.channels = int(self.network.num_features)
        else:
            strided: dict[str, Any] = {} if output_stride is None else {"output_stride": output_stride}
            probe: Any = timm.create_model(architecture, pretrained=False, features_only=True, **strided)
            reductions = probe.feature_info.reduction()
            level = max((i for i, r in enumerate(reductions) if r <= max_stride), default=0)
            self.network = timm.create_model(
                architecture, pretrained=False, features_only=True, out_indices=(level,), **strided
            )
            self.cell = int(reductions[level])
            self.channels = int(self.network.feature_info.channels()[0])
        self.stride = max(1, round(self.cell / scale))
        use_fast_products(self.network)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the features (B, channels, h, w) of (B, 3, H, W) images in [0, 1]."""
        return self.image_and_cells(images)[1]

    def image_and_cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token (the mean of the cells, where there is none) and the features."""
        if self.scale != 1:
            images = torch.nn.functional.interpolate(
                images, scale_factor=self.scale, mode="bilinear", align_corners=False, antialias=True
            )
        images = self.normalise(resize_to_multiple(images, self.cell))
        if not self.is_transformer:
            cells = self.network(images)[0]
            return cells.mean((2, 3)), cells
        tokens = self.network.forward_features(images)
        rows, columns = images.shape[-2] // self.cell, images.shape[-1] // self.cell
        patches = tokens[:, self.network.num_prefix_tokens :]
        cells = patches.transpose(1, 2).reshape(len(images), -1, rows, columns)
        return tokens[:, 0] if self.network.has_class_token else patches.mean(1), cells

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load a timm state dict; classifier weights are ignored, anything else must fit.

        Raises:
            WeightsError: names or shapes differ; the message lists them.
        """
        own = self.network.state_dict()
        given = {name.removeprefix("module."): value for name, value in state.items()}
        missing = sorted(own.keys() - given.keys())
        shapes = sorted(n for n in own.keys() & given.keys() if own[n].shape != given[n].shape)
        known_extras = ("head.", "head_", "fc.", "classifier.", "mask_token", "norm_pre.", "fc_norm.")
        extra = sorted(n for n in given.keys() - own.keys() if not n.startswith(known_extras))
        deeper = not self.is_transformer  # a CNN cut at a level has no place for the deeper stages
        if missing or shapes or (extra and not deeper):
            lines = [
                f"{what}: {', '.join(names[:5])}" + (f" and {len(names) - 5} more" * (len(names) > 5))
                for what, names in (("missing", missing), ("other shape", shapes), ("unknown", extra))
                if names
            ]
            raise WeightsError(
                f"weights do not fit timm's {self.architecture}: " + "; ".join(lines),
                hint="name the architecture these weights were trained with",
            )
        self.network.load_state_dict({name: given[name].float() for name in own})
