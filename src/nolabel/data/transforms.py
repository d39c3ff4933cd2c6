"""Joint transforms over samples, as ``torchvision.transforms.v2`` transforms.

A sample is a dictionary that holds ``tv_tensors.Image`` (bilinear), ``tv_tensors.Mask`` (nearest) and perhaps a
:class:`~nolabel.structures.StereoCalibration`, which the geometric transforms of this module move along.
They compose with every transform of torchvision (which leaves the calibration alone).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from nolabel.errors import DataError
from nolabel.labels import VOID
from nolabel.structures import StereoCalibration

__all__ = ["CentreCrop", "CutOrPad", "RandomAspectCrop", "RandomFlip", "Rescale", "consecutive_ids"]


class _Joint(v2.Transform):
    """Base: images, masks and calibrations are transformed, everything else passes through."""

    _transformed_types = (tv_tensors.Image, tv_tensors.Mask, StereoCalibration)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Find the one size that the sample's images and masks share."""
        sizes = {tuple(item.shape[-2:]) for item in flat_inputs if isinstance(item, torch.Tensor)}
        if len(sizes) > 1:
            shown = ", ".join(f"{h}x{w}" for h, w in sorted(sizes))
            raise DataError(
                f"images and maps of one sample differ in size: {shown}",
                hint="`nolabel doctor` lists such files",
            )
        height, width = sizes.pop() if sizes else (0, 0)
        return {"height": height, "width": width}


class Rescale(_Joint):
    """Resize by a factor: images bilinearly without antialiasing, masks to the nearest pixel.

    The output has floor(size * scale) pixels and is sampled with the given factor, not with the ratio of the
    rounded sizes (spec cups_pseudo 2.1, cups_model 7). A calibration's fx, fy, cx, cy are multiplied by it.

    Args:
        scale: factor > 0.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one leaf of the sample."""
        if self.scale == 1:
            return inpt
        if isinstance(inpt, StereoCalibration):
            return inpt.scaled(self.scale)
        if min(math.floor(params["height"] * self.scale), math.floor(params["width"] * self.scale)) < 1:
            raise DataError(
                f"scale {self.scale} leaves nothing of {params['height']}x{params['width']} pixels"
            )
        batch = inpt.as_subclass(torch.Tensor)[(None,) * (4 - inpt.ndim)]
        if isinstance(inpt, tv_tensors.Image):
            resized = F.interpolate(batch, scale_factor=self.scale, mode="bilinear", align_corners=False)
        else:
            # float64 holds every id exactly.
            resized = F.interpolate(batch.double(), scale_factor=self.scale, mode="nearest").to(inpt.dtype)
        return tv_tensors.wrap(resized.reshape(*inpt.shape[:-2], *resized.shape[-2:]), like=inpt)


class CentreCrop(_Joint):
    """Cut the central part; the offset is floor((size - crop) / 2) and is taken off cx, cy.

    Args:
        size: (height, width); must fit in the image.
        keep_principal_point: leave cx, cy as they were (the reference's behaviour).
    """

    def __init__(self, size: tuple[int, int], *, keep_principal_point: bool = False) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.keep_principal_point = keep_principal_point

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop one leaf of the sample."""
        height, width = self.size
        if params["height"] < height or params["width"] < width:
            raise DataError(
                f"a crop of {height}x{width} does not fit in {params['height']}x{params['width']} pixels",
                hint="choose a smaller crop, a larger scale, or no crop",
            )
        top, left = (params["height"] - height) // 2, (params["width"] - width) // 2
        if isinstance(inpt, StereoCalibration):
            return inpt if self.keep_principal_point else inpt.cropped(top, left)
        return v2f.crop(inpt, top, left, height, width)


class CutOrPad(_Joint):
    """Bring to a size at the right and bottom only: cut what is too large, pad what is too small.

    Images are padded with 0; each mask with its own value. The top-left pixel stays where it is, and with it
    the calibration (spec cups_pseudo 2.2).

    Args:
        size: (height, width).
        fill: padding value by the mask's key in the sample (0 where not named).
    """

    def __init__(self, size: tuple[int, int], fill: dict[str, int] | None = None) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.fill = {"semantic": VOID} if fill is None else fill

    def forward(self, *inputs: Any) -> Any:
        """Cut or pad a sample dictionary."""
        (sample,) = inputs
        height, width = self.size
        result = dict(sample)
        for key, value in sample.items():
            if isinstance(value, tv_tensors.Image | tv_tensors.Mask):
                h, w = value.shape[-2:]
                padding = [0, 0, width - min(w, width), height - min(h, height)]
                cut = v2f.crop(value, 0, 0, min(h, height), min(w, width))
                result[key] = v2f.pad(cut, padding, fill=self.fill.get(key, 0)) if any(padding) else cut
        return result


class RandomFlip(_Joint):
    """Mirror left and right with a probability. Not for stereo samples: it would swap the cameras' roles.

    Args:
        probability: of mirroring.
        generator: draws; torch's global one (seeded for each DataLoader worker) by default.
    """

    def __init__(self, probability: float = 0.5, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.probability = probability
        self.generator = generator

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw whether to mirror."""
        return {"flip": bool(torch.rand((), generator=self.generator) < self.probability)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Mirror one leaf of the sample."""
        if isinstance(inpt, StereoCalibration):
            raise DataError("a stereo sample cannot be mirrored: left and right would have to change places")
        return v2f.horizontal_flip(inpt) if params["flip"] else inpt


class RandomAspectCrop(_Joint):
    """Cut a random part with the image's own aspect ratio and resize it to ``size``.

    Args:
        size: output (height, width).
        area: range of the part's share of the image area, within (0, 1] (spec cups_model 4.3: 0.7 to 1).
        generator: draws; torch's global one by default.
    """

    def __init__(
        self,
        size: tuple[int, int],
        area: tuple[float, float] = (0.7, 1.0),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.size = [int(size[0]), int(size[1])]
        self.area = area
        self.generator = generator

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the part's size and place."""
        params = super().make_params(flat_inputs)
        share, down, across = torch.rand(3, generator=self.generator).tolist()
        side = math.sqrt(self.area[0] + share * (self.area[1] - self.area[0]))
        height = max(1, min(params["height"], round(params["height"] * side)))
        width = max(1, min(params["width"], round(params["width"] * side)))
        top = min(int(down * (params["height"] - height + 1)), params["height"] - height)
        left = min(int(across * (params["width"] - width + 1)), params["width"] - width)
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop and resize one leaf of the sample."""
        if isinstance(inpt, StereoCalibration):
            raise DataError("a random crop changes the focal lengths: use it on single images only")
        return v2f.resized_crop(
            inpt,
            params["top"],
            params["left"],
            params["height"],
            params["width"],
            self.size,
            interpolation=v2.InterpolationMode.BILINEAR,
            antialias=False,
        )


def consecutive_ids(ids: torch.Tensor, *, reference_compat: bool = False) -> torch.Tensor:
    """Renumber instance ids to 1..N in ascending order; 0 (no instance) stays 0.

    Args:
        ids: (H, W) integers >= 0.
        reference_compat: the smallest id becomes 0 even where it belongs to an object, which is what the
            original's renumbering does with a map without background (spec cups_model 7).
    """
    values, ranks = torch.unique(ids, return_inverse=True)
    if not reference_compat and values.numel() and values[0] > 0:
        ranks = ranks + 1
    return ranks
