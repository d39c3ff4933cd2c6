"""The losses of stage 2: the code learns from neighbourhoods, clusters and probes from rendered features.

The three never teach each other: clusters and probes see features and codes without gradients. Source: SceneDINO
specification, 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.engine.batches import to_device
from nolabel.labels import VOID
from nolabel.methods.scenedino.semantic_losses import StegoConfig, StegoInputs, stego_losses
from nolabel.models.scenedino import SemanticHead

__all__ = ["DropoutMasks", "Neighbourhoods", "SemanticLearner", "draw_dropout", "draw_masks", "unit_features"]

EPSILON = 1e-10


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """G neighbourhoods of n points, unit vectors (G, n, C) each.

    Attributes:
        own: what the code is made of.
        dropped: the same without some channels: what correlations see.
        neighbour: of a similar neighbourhood, as it was dropped when it was seen.
        random: of any one, likewise.
    """

    own: Tensor
    dropped: Tensor
    neighbour: Tensor
    random: Tensor


@dataclass(frozen=True, eq=False)
class DropoutMasks:
    """Factors of dropout: 0, or 1 / (1 - share); None for no dropout.

    Attributes:
        own, neighbour, random: of the code head's two paths, broadcastable to (G, n, code).
        rendered: likewise, to (N, R, code).
        direct: of rendered features, broadcastable to (N, R, C).
    """

    own: tuple[Tensor, Tensor] | None = None
    neighbour: tuple[Tensor, Tensor] | None = None
    random: tuple[Tensor, Tensor] | None = None
    rendered: tuple[Tensor, Tensor] | None = None
    direct: Tensor | None = None

    def to(self, device: torch.device) -> DropoutMasks:
        """Move all of them."""
        moved: DropoutMasks = to_device(self, device)
        return moved


def draw_dropout(shape: tuple[int, ...], share: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw factors of dropout."""
    return (torch.rand(shape, generator=generator) >= share) / (1 - share)


def draw_masks(
    neighbourhoods: tuple[int, int],
    scenes: int,
    features: int,
    code: int,
    share: float,
    generator: torch.Generator | None = None,
    *,
    reference_compat: bool = False,
) -> DropoutMasks:
    """Draw all of a step's dropout within the head: whole channels of a neighbourhood or picture.

    Args:
        neighbourhoods: (G, n).
        scenes: N.
        features: channels.
        code: channels.
        share: that is dropped.
        generator: source of the draws.
        reference_compat: partners lose a channel at a point of all neighbourhoods, as their tensors' axes have it in the
            original.
    """
    count, points = neighbourhoods

    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        return draw_dropout(shape, share, generator), draw_dropout(shape, share, generator)

    partner = (1, points, code) if reference_compat else (count, 1, code)
    return DropoutMasks(
        own=pair(count, 1, code),
        neighbour=pair(*partner),
        random=pair(*partner),
        rendered=pair(scenes, 1, code),
        direct=draw_dropout((scenes, 1, features), share, generator),
    )


def unit_features(features: Tensor) -> Tensor:
    """Features (..., C) of unit length, as the head sees them."""
    return F.normalize(features, dim=-1, eps=EPSILON)


class SemanticLearner(nn.Module):
    """A semantic head and its losses.

    Args:
        head: what is trained.
        stego: weights and shifts.
    """

    def __init__(self, head: SemanticHead, stego: StegoConfig | None = None) -> None:
        super().__init__()
        self.head, self.stego = head, stego or StegoConfig()

    def forward(
        self,
        neighbourhoods: Neighbourhoods | None,
        rendered: Tensor,
        labels: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> dict[str, Tensor]:
        """All terms, and ``loss``: their sum.

        Args:
            neighbourhoods: None where no surface was found: the code learns nothing then.
            rendered: (N, R, C) features of pixels, unit length.
            labels: (N, R) int64 of these pixels, 255 void; None if the probes shall learn nothing.
            masks: dropout; none by default.
        """
        masks = masks or DropoutMasks()
        losses: dict[str, Tensor] = {}
        if neighbourhoods is not None:
            losses |= self.correlations(neighbourhoods, masks)
        with torch.no_grad():
            code = self.head.code(rendered, masks.rendered)
        direct = rendered if masks.direct is None else rendered * masks.direct
        for name, seen in (("direct", direct), ("code", code)):
            clusters = getattr(self.head, f"{name}_clusters")
            losses[f"{name}_clusters"] = -clusters(seen.detach())[1].float().mean()
            if labels is not None:
                logits = getattr(self.head, f"{name}_probe")(seen.detach())
                losses[f"{name}_probe"] = labelled_cross_entropy(logits, labels)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def correlations(self, seen: Neighbourhoods, masks: DropoutMasks) -> dict[str, Tensor]:
        """STEGO's three terms."""
        own = StegoInputs(seen.dropped, self.head.code(seen.own, masks.own))
        neighbour = StegoInputs(seen.neighbour, self.head.code(seen.neighbour, masks.neighbour))
        other = StegoInputs(seen.random, self.head.code(seen.random, masks.random))
        return stego_losses(own, neighbour, other, self.stego)


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (..., K) where there are labels (...) below K; 0 where there are none."""
    known = labels != VOID
    total = F.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten(), ignore_index=VOID, reduction="sum"
    )
    return total / known.sum().clamp(min=1)
