"""From four maps of a vision transformer to the map the field is read from (SceneDINO specification, 3.2).

The last four layers (two 3x3 convolutions, a doubling transposed convolution, a 3x3 convolution) have nothing between
them but zero padding. :meth:`DptDecoder.folded` uses that, and that whoever reads the map begins with a matrix: the matrix
goes into the last convolution, and the last two layers become four 2x2 convolutions on the small map, one for each phase
of the doubled one. The result is the same function of the same weights, gradients included.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models import dpt
from nolabel.models.dpt import Fusion
from nolabel.models.pointwise import use_fast_products

__all__ = ["DptDecoder", "ResizingDecoder"]


class DptDecoder(nn.Module):
    """Maps of tokens (N, width, h, w), four of them, to one map (N, features, 32 ceil(h / 2), 32 ceil(w / 2)).

    Args:
        width: channels of the tokens.
        reassembled: channels of the pyramid, finest first; each at most ``features``.
        features: channels of the decoder and of the result.
    """

    def __init__(
        self,
        width: int,
        reassembled: tuple[int, int, int, int] = (64, 64, 128, 256),
        features: int = 256,
    ) -> None:
        super().__init__()
        channels = cast(tuple[int, int, int, int], tuple(min(count, features) for count in reassembled))
        self.channels = features
        self.reassemble = dpt.reassembling(width, channels)
        self.projections = dpt.projections(channels, features)
        self.fusions = dpt.fusions(features)
        self.smooth = nn.Conv2d(features, features, 3, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ConvTranspose2d(features, features, 2, 2),
            nn.Conv2d(features, features, 3, padding=1),
        )
        use_fast_products(self)

    def forward(self, maps: list[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Decode maps of an image of this size; the size decides nothing here."""
        return self.head(self._before_head(maps))

    def folded(self, maps: list[Tensor], matrix: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Return ``matrix`` (O, features) times what :meth:`forward` gives: (N, O, H, W), for less."""
        before, doubling, last = (cast(nn.Conv2d, layer) for layer in self.head)
        x = before(self._before_head(maps))
        kernel = torch.einsum("of,fijk->oijk", matrix, last.weight)
        bias = matrix @ cast(Tensor, last.bias)
        phases = _phase_kernels(kernel, doubling.weight)
        height, width = x.shape[-2:]
        padded = F.pad(x, (1, 1, 1, 1))
        # Phase (r, s) of the doubled map sees rows -1 + r and r of the small one, columns likewise.
        parts = [
            F.conv2d(padded[..., r : r + height + 1, s : s + width + 1], phases[r, s])
            for r in (0, 1)
            for s in (0, 1)
        ]
        # Pixels as rows of memory: whoever reads the map looks single ones up.
        fine = torch.stack(parts, dim=1).unflatten(1, (2, 2)).permute(0, 4, 1, 5, 2, 3)  # (N, h, 2, w, 2, O)
        fine = fine.reshape(len(x), 2 * height, 2 * width, len(matrix))
        border = _border_bias(kernel, cast(Tensor, doubling.bias), bias, 2 * height, 2 * width)
        return fine.add_(border.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _before_head(self, maps: list[Tensor]) -> Tensor:
        pyramid = [reassemble(x) for reassemble, x in zip(self.reassemble, maps, strict=True)]
        coarse = dpt.fuse(pyramid, self.projections, self.fusions)
        return self.smooth(cast(Fusion, self.fusions[0]).enlarged(coarse))


def _phase_kernels(kernel: Tensor, doubling: Tensor) -> Tensor:
    """Kernels (2, 2, O, I, 2, 2) by row and column phase of a 3x3 convolution after a 2x2 transposed one of stride 2.

    Args:
        kernel: (O, M, 3, 3).
        doubling: (I, M, 2, 2).
    """
    # Tap t of fine row 2 i + r is fine row 2 i + r + t - 1: of coarse row i + (r + t - 1) // 2 the phase (r + t - 1) % 2;
    # the window of phase r begins at coarse row i - 1 + r.
    select = kernel.new_zeros(2, 2, 3, 2)  # phase, row of the window, tap, phase of what the tap sees
    for r in (0, 1):
        for tap in range(3):
            select[r, (r + tap - 1) // 2 + 1 - r, tap, (r + tap - 1) % 2] = 1
    both = torch.einsum("omjk,impq->oijkpq", kernel, doubling)
    rows = torch.einsum("oijkpq,rajp->roiakq", both, select)
    return torch.einsum("roiakq,sbkq->rsoiab", rows, select)


def _border_bias(kernel: Tensor, inner: Tensor, outer: Tensor, height: int, width: int) -> Tensor:
    """What the biases add up to, (1, O, height, width): the inner one counts only where its pixel lies in the map."""
    taps = torch.einsum("omjk,m->ojk", kernel, inner)[:, None]
    small = F.conv2d(taps.new_ones(1, 1, min(height, 3), min(width, 3)), taps, outer, padding=1)
    rows, columns = (torch.arange(side, device=taps.device).clamp(max=1) for side in (height, width))
    rows[-1], columns[-1] = small.shape[-2] - 1, small.shape[-1] - 1
    return small[:, :, rows[:, None], columns]


class ResizingDecoder(nn.Module):
    """No decoder: the last map, resized to the image.

    Args:
        width: channels of the tokens.
        mode: ``nearest``, ``bilinear`` or ``bicubic``.
    """

    def __init__(self, width: int, mode: str) -> None:
        super().__init__()
        self.channels, self.mode = width, mode

    def forward(self, maps: list[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Return (N, width, *image_size)."""
        corners = {} if self.mode == "nearest" else {"align_corners": False}
        return F.interpolate(maps[-1], size=image_size, mode=self.mode, **corners)

    def folded(self, maps: list[Tensor], matrix: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Return ``matrix`` (O, width) times what :meth:`forward` gives, (N, O, *image_size)."""
        mapped = F.conv2d(maps[-1], matrix[..., None, None])
        return self([mapped], image_size)
