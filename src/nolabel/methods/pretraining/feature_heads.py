"""Student and teacher: a backbone, and the heads that give the outputs which are compared (DINO, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.methods.pretraining.feature_settings import FeaturePretrainingConfig, HeadConfig
from nolabel.models.features import FeatureExtractor

__all__ = ["DistillationNetwork", "ProjectionHead", "sample_cells"]


class ProjectionHead(nn.Module):
    """A perceptron to unit vectors, and cosines with prototypes of unit length.

    Args:
        inputs: length of the features.
        config: sizes.
        prototypes: outputs.
    """

    def __init__(self, inputs: int, config: HeadConfig, prototypes: int) -> None:
        super().__init__()
        widths = [inputs, *[config.hidden] * (config.layers - 1), config.bottleneck]
        steps: list[nn.Module] = []
        for place in range(config.layers):
            steps += [nn.Linear(widths[place], widths[place + 1]), nn.GELU()]
        self.perceptron = nn.Sequential(*steps[:-1])
        self.prototypes = nn.Parameter(torch.empty(prototypes, config.bottleneck))
        for module in self.perceptron:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(
                    module.weight, std=0.02 if config.hidden >= 1024 else module.in_features**-0.5
                )
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.prototypes)

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., inputs) to cosines (..., prototypes), in float32 whatever the precision of the features."""
        vectors = self.perceptron(features)
        with torch.autocast(vectors.device.type, enabled=False):
            # The length of the rows is no parameter: weight normalisation with its factor fixed to one.
            return F.linear(
                F.normalize(vectors.float(), dim=-1), F.normalize(self.prototypes.float(), dim=-1)
            )


def sample_cells(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps (N, C, h, w) at places (N, K, 2), see :class:`~.feature_views.ViewBatch`: (N, K, C), bilinear."""
    grid = points[:, :, None].to(maps.dtype)
    found = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[..., 0].transpose(1, 2)


class DistillationNetwork(nn.Module):
    """A backbone with a head for images and one for cells, as far as their objectives count.

    Args:
        backbone: gives the features.
        config: settings.
    """

    def __init__(self, backbone: FeatureExtractor, config: FeaturePretrainingConfig) -> None:
        super().__init__()
        heads, objective = config.heads, config.objective
        self.backbone = backbone
        self.image_head = self.dense_head = None
        if objective.image > 0:
            self.image_head = ProjectionHead(backbone.channels, heads, heads.prototypes)
        if objective.dense > 0:
            self.dense_head = ProjectionHead(backbone.channels, heads, heads.dense_prototypes)

    def forward(
        self, views: Tensor, local: Tensor, points: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return the outputs of views.

        Args:
            views: (B, V, 3, S, S) global views in [0, 1].
            local: (B, L, 3, s, s), L may be 0.
            points: (B, V, K, 2), K may be 0.

        Returns:
            Outputs of the image head (V + L, B, prototypes), of the dense head (V, B, K, dense prototypes), None where an
            objective does not count, and the features of the global views (V * B, C, h, w).
        """
        count = views.shape[1]
        vectors, maps = self.backbone.image_and_cells(views.transpose(0, 1).flatten(0, 1))
        image = dense = None
        if self.image_head is not None:
            if local.shape[1]:
                vectors = torch.cat(
                    [vectors, self.backbone.image_and_cells(local.transpose(0, 1).flatten(0, 1))[0]]
                )
            image = self.image_head(vectors).unflatten(0, (-1, len(views)))
        if self.dense_head is not None:
            cells = sample_cells(maps, points.transpose(0, 1).flatten(0, 1))
            dense = self.dense_head(cells).unflatten(0, (count, -1))
        return image, dense, maps
