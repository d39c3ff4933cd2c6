"""AdvSeg: a discriminator tells the domains apart by the classes' probabilities, and the network deceives it.

Source: Tsai et al., CVPR 2018; UDASS specification (image) 2.12.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nolabel.methods.quadmix.losses import least_squares_loss

__all__ = ["Adversary"]


class Adversary:
    """The discriminator and what both sides learn.

    Args:
        network: the discriminator.
        module: the same as it is called in training (a wrapper for several devices).
    """

    def __init__(self, network: nn.Module, module: nn.Module | None = None) -> None:
        self.network, self.module = network, module or network

    def deception(self, scores: Tensor) -> Tensor:
        """Return how far logits (B, C, h, w) of target images are from passing as source; it changes nothing itself."""
        frozen = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        found = cast(Tensor, functional_call(self.network, frozen, (scores.softmax(1),)))
        return least_squares_loss(found, "source")

    def own_loss(self, source_scores: Tensor, target_scores: Tensor) -> Tensor:
        """Return what the discriminator minimises on logits of both domains, which have no gradients."""
        both = torch.cat([source_scores, target_scores]).softmax(1)
        of_source, of_target = self.module(both).split(len(source_scores))
        return (least_squares_loss(of_source, "source") + least_squares_loss(of_target, "target")) / 2
