"""Matrix products along the channels (linear layers, 1x1 convolutions) by the fastest library of the processor.

On processors torch hands float32 matrix products to MKL, which uses half of what the wide vector units of processors
from other makers than Intel can do; convolutions it hands to oneDNN, which uses all of it, except those with a 1x1
kernel on one thread. What it looks at is whether they have a stride or a dilation: a dilation, which means nothing to
a 1x1 kernel, is the public way to oneDNN. One thread of an AMD Zen 5 then does 220 instead of 95 GFLOP/s. The
results differ by rounding only. Nothing changes on accelerators, in lower precision and where gradients are wanted
(the small networks that processors can train gain nothing).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear", "conv1x1", "linear", "use_fast_products"]

LEAST_ROWS = 256  # below, packing the weights costs more than the product saves


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Map (B, I, H, W) by a kernel (O, I, 1, 1) to (B, O, H / stride, W / stride); as :func:`F.conv2d`."""
    return F.conv2d(x, weight, bias, stride, dilation=2 if _gains(x) else 1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map (..., I) by a matrix (O, I) to (..., O); as :func:`F.linear`."""
    rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
    if not _gains(x) or rows < LEAST_ROWS:
        return F.linear(x, weight, bias)
    # Rows of features are an image of one column, channels last.
    image = x.reshape(1, rows, 1, x.shape[-1]).permute(0, 3, 1, 2)
    mapped = F.conv2d(image, weight[:, :, None, None], bias, dilation=2)
    return mapped.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def _gains(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


class Linear(nn.Linear):
    """A linear layer computed by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)


class Conv1x1(nn.Conv2d):
    """A convolution with a 1x1 kernel computed by :func:`conv1x1`; made by :func:`use_fast_products`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return conv1x1(x, self.weight, self.bias, self.stride[0])


def use_fast_products(module: nn.Module) -> None:
    """Let all plain linear layers and 1x1 convolutions below ``module``, a network of another library, compute so.

    Names, parameters and results (up to rounding) stay.
    """
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = Linear
        elif type(child) is nn.Conv2d and _is_pointwise(child):
            child.__class__ = Conv1x1


def _is_pointwise(conv: nn.Conv2d) -> bool:
    one = (conv.kernel_size, conv.padding, conv.groups) == ((1, 1), (0, 0), 1)
    return one and conv.stride[0] == conv.stride[1] and conv.padding_mode == "zeros"
