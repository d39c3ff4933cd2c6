"""Classes from compact features without ever forming the long ones (SceneDINO specification, 13, c).

Expanded features are y / |y| with y = W h + b and h of 128 numbers. Whatever meets them first, STEGO's two layers, centres
or a probe, is linear, too, so its matrix and W become one that is six times narrower; and |y| is the length of R (h, 1),
where R is the triangular factor of (W, b). The result is that of the expansion and the head one after the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.pointwise import linear
from nolabel.models.scenedino.reduction import Expansion, LinearExpansion, NoExpansion
from nolabel.models.scenedino.semantic_head import EPSILON, PredictionMode, SemanticHead

__all__ = ["FoldedHead"]

LEAST_LENGTH = 1e-12  # of y, as torch.nn.functional.normalize has it


class FoldedHead:
    """The expansion and the semantic head as one function of compact features, for inference.

    Weights are folded when this is made: make it anew after they have changed. Gradients reach the compact features, not
    the weights.

    Args:
        expansion: of the network.
        head: of the network.
        mode: what the classes come from.
    """

    def __init__(
        self,
        expansion: Expansion | LinearExpansion | NoExpansion,
        head: SemanticHead,
        mode: PredictionMode = "stego_kmeans",
    ) -> None:
        self.expansion, self.head, self.mode = expansion, head, mode
        self._code = head.code if mode.startswith("stego") else None
        clusters = head.direct_clusters if self._code is None else head.code_clusters
        self._clusters = clusters if mode.endswith("kmeans") else None
        first = self._first_layers()
        if first is None or isinstance(expansion, NoExpansion):
            self._matrix = None  # nothing to fold
            return
        with torch.no_grad():
            weight, bias = (x.detach().double() for x in expansion.last_layer)
            whole = torch.cat([weight, bias[:, None]], dim=1)
            self._length = torch.linalg.qr(whole, mode="r").R.to(expansion.last_layer[0])
            matrices, offsets = zip(*first, strict=True)
            matrix = torch.cat([m.detach().double() for m in matrices]) @ whole
            self._matrix = matrix.to(expansion.last_layer[0])
            self._offset = torch.cat([o.detach() for o in offsets])
            self._parts = [len(o) for o in offsets]

    def _first_layers(self) -> list[tuple[Tensor, Tensor]] | None:
        """Weight and bias of what meets the features; None where that is a network of its own."""
        head = self.head
        if self._code is not None:
            return [(layer.weight, layer.bias) for layer in (self._code.linear, self._code.hidden)]
        if self.mode == "direct_kmeans":
            centres = F.normalize(head.direct_clusters.centres, dim=-1)
            return [(centres, torch.zeros_like(centres[:, 0]))]
        probe = head.direct_probe
        return [(probe.weight, probe.bias)] if isinstance(probe, nn.Linear) else None

    def __call__(self, compact: Tensor) -> Tensor:
        """Classes (...) int64 of compact features (..., C)."""
        first = self.first(compact)
        if first is None:
            return self.head(self.expansion(compact), self.mode)
        if self._code is not None:
            return self.head.classify(self._code.combined(first[0], first[1]), self.mode)
        best = first[0].argmax(dim=-1)
        return self.head.direct_clusters.classes[best] if self.mode == "direct_kmeans" else best

    def confident(self, compact: Tensor) -> tuple[Tensor, Tensor]:
        """Classes (...) int64 of compact features (..., C), and how sure they are (...), 0..1.

        A probe says a probability; a cluster the cosine to its centre, 0 where it is negative.
        """
        first, head = self.first(compact), self.head
        scores: Tensor
        if self._code is not None:
            code = self.code(compact) if first is None else self._code.combined(first[0], first[1])
            scores = head.code_clusters.cosines(code) if self._clusters is not None else head.code_probe(code)
        elif first is not None:
            scores = first[0]
        else:
            unit = F.normalize(self.expansion(compact), dim=-1, eps=EPSILON)
            scores = head.direct_probe(unit) if self._clusters is None else self._clusters.cosines(unit)
        if self._clusters is not None:
            sure, best = scores.max(dim=-1)
            return self._clusters.classes[best], sure.clamp(0, 1)
        sure, best = scores.softmax(dim=-1).max(dim=-1)
        return best, sure

    def code(self, compact: Tensor) -> Tensor:
        """STEGO's code (..., code), unit length, of compact features (..., C); for the ``stego_*`` modes."""
        if self._code is None:
            raise ValueError(f"{self.mode} has no code")
        first = self.first(compact)
        if first is None:
            return self._code(F.normalize(self.expansion(compact), dim=-1, eps=EPSILON))
        return self._code.combined(first[0], first[1])

    def first(self, compact: Tensor) -> tuple[Tensor, ...] | None:
        """What the first layers give for compact features (..., C): (..., O) each; None where nothing is folded."""
        if self._matrix is None or isinstance(self.expansion, NoExpansion):
            return None
        hidden = self.expansion.hidden(compact)
        hidden = torch.cat([hidden, torch.ones_like(hidden[..., :1])], dim=-1)
        length = linear(hidden, self._length).norm(dim=-1, keepdim=True).clamp(min=LEAST_LENGTH)
        return (linear(hidden, self._matrix) / length + self._offset).split(self._parts, dim=-1)
