"""A convolution that owns its normalisation, named as detectron2 names them (``conv1.weight``, ``conv1.norm.*``)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nolabel.models.pointwise import conv1x1

__all__ = ["ConvNorm", "freeze_batch_norm"]


class ConvNorm(nn.Conv2d):
    """2D convolution without bias, followed by its normalisation ``norm``.

    A batch normalisation that runs on its stored statistics (evaluation, or frozen in training) is an affine map
    of the channels, so it is folded into the weights: one pass over the feature map less, the same gradients.

    Args:
        in_channels, out_channels, kernel_size, stride, dilation, groups: as in :class:`torch.nn.Conv2d`; "same" padding
            for odd kernels.
        norm_groups: ``None`` for batch normalisation, a number for group normalisation with that many groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        norm_groups: int | None = None,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False
        )
        self.norm: nn.Module
        if norm_groups is None:
            self.norm = nn.BatchNorm2d(out_channels)
        else:
            self.norm = nn.GroupNorm(norm_groups, out_channels)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        if isinstance(self.norm, _BatchNorm) and not self.norm.training:
            scale, shift = self._affine(self.norm)
            return self._convolve(x, self.weight * scale[:, None, None, None], shift)
        return cast(Tensor, self.norm(self._convolve(x, self.weight, None)))

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.kernel_size == (1, 1) and self.groups == 1:
            return conv1x1(x, weight, bias, self.stride[0])
        return self._conv_forward(x, weight, bias)

    @staticmethod
    def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return scale, norm.bias - mean * scale


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch normalisation below ``module`` on its stored statistics and stop training its affine map."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval().requires_grad_(False)
