"""A trained network as evaluations ask for it; see :mod:`nolabel.methods.scenedino.scene_model`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.methods.scenedino.scene_model import ViewPrediction, VolumePrediction
from nolabel.models.rendering import RenderSettings, Views, image_rays, render_fast
from nolabel.models.scenedino import FoldedField, PredictionMode, SceneDino
from nolabel.models.scenedino.folded_head import FoldedHead
from nolabel.models.scenedino.volume import query_volume

__all__ = ["NetworkScenes"]

PIXELS_AT_ONCE = 16384  # whose long features exist together


class NetworkScenes:
    """Scenes of a network.

    Args:
        network: trained; with a semantic head where classes are wanted.
        mode: what a volume's classes come from.
        settings: of the rendering; the published ones by default.
        seed: draw where samples lie, as the original does even when it evaluates; None takes the middles.
    """

    def __init__(
        self,
        network: SceneDino,
        mode: PredictionMode = "stego_kmeans",
        settings: RenderSettings | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.network, self.mode = network.eval(), mode
        self.settings = settings or RenderSettings()
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def encode(self, image: Tensor, intrinsics: Tensor) -> tuple[FoldedField, Views]:
        """The field of an image (3, H, W), whose camera is the world, and the view itself."""
        pose = torch.eye(4, device=image.device)
        view = Views(image[None, None], intrinsics.float()[None, None], pose[None, None])
        field = self.network.encode(view, folded=True)
        assert isinstance(field, FoldedField)
        return field, view

    @torch.no_grad()
    def view(self, image: Tensor, intrinsics: Tensor, *, features: bool = False) -> ViewPrediction:
        """Render the image's own view; ``features`` are the long ones, of every pixel."""
        height, width = image.shape[-2:]
        field, view = self.encode(image, intrinsics)
        rays = image_rays(
            view.intrinsics, view.poses, height, width, self.network.config.near, self.network.config.far
        )
        seen = render_fast(field, rays, self.settings, self.generator)
        assert seen.features is not None
        clusters: dict[str, list[Tensor]] = {}
        classes: dict[str, list[Tensor]] = {}
        long: list[Tensor] = []
        for compact in seen.features[0].split(PIXELS_AT_ONCE):
            expanded = self.network.expansion(compact)
            if features:
                long.append(expanded)
            for name, raw, mapped in self._heads(expanded):
                clusters.setdefault(name, []).append(raw)
                classes.setdefault(name, []).append(mapped)

        def picture(parts: list[Tensor]) -> Tensor:
            return torch.cat(parts).view(height, width, *parts[0].shape[1:])

        return ViewPrediction(
            clusters={name: picture(parts) for name, parts in clusters.items()},
            classes={name: picture(parts) for name, parts in classes.items()},
            distance=seen.depth.view(height, width),
            features=picture(long).permute(2, 0, 1) if features else None,
        )

    def _heads(self, features: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """(name, raw ids, train ids) of every head for features (P, C)."""
        head = self.network.semantic_head
        if head is None:
            return []
        unit = F.normalize(features, dim=-1, eps=1e-10)
        code = head.code(unit)
        result = []
        for name, vectors, centres in (
            ("stego_cluster", code, head.code_clusters),
            ("direct_cluster", unit, head.direct_clusters),
        ):
            raw = centres(vectors)[0]
            result.append((name, raw, centres.classes[raw]))
        for name, vectors, probe in (
            ("stego_linear", code, head.code_probe),
            ("direct_linear", unit, head.direct_probe),
        ):
            raw = probe(vectors).argmax(dim=-1)
            result.append((name, raw, raw))
        return result

    @torch.no_grad()
    def volume(
        self, image: Tensor, intrinsics: Tensor, centres: Tensor, needed: Tensor | None = None
    ) -> VolumePrediction:
        """Look at the centres of voxels; a network without a semantic head gives class 0 (road) to all."""
        field, _ = self.encode(image, intrinsics)
        head = self.network.semantic_head
        expansion = self.network.expansion
        classify: Callable[[Tensor], Tensor] = (
            _first_class if head is None else FoldedHead(expansion, head, self.mode)
        )
        density, classes = query_volume(field, centres, classify, needed=needed, chunk=self.settings.chunk)
        return VolumePrediction(density, classes)


def _first_class(compact: Tensor) -> Tensor:
    return torch.zeros(compact.shape[:-1], dtype=torch.long, device=compact.device)
