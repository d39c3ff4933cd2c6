"""Features on square grids, whatever network they come from; and a stand-in that needs no weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nolabel.engine.feature_extractors import PACKAGED, features_file, open_features
from nolabel.errors import WeightsError
from nolabel.methods.unmore.votecut_settings import FeatureSettings
from nolabel.models.features import FeatureExtractor, SquareVit, build_features
from nolabel.weights import file_hash, find_weights, load_checkpoint
from nolabel.weights.layouts import dino

__all__ = ["VOTECUT_NETWORKS", "GridFeatures", "load_grid_features", "square_image", "weights_hashes"]

VOTECUT_NETWORKS = ("dino_s16", "dinov2_b14", "dinov2_s14", "dino_b16", "dino_s8", "dino_b8")
"""The published list, in its order."""
PACKAGED_SIDE = 240
"""Pixels of the square that descriptors and networks of ``nolabel pretrain features`` see: 60 x 60 cells."""


@dataclass(frozen=True)
class GridFeatures:
    """A network and the square it looks at.

    Attributes:
        extractor: maps (1, 3, side, side) in [0, 1] to (1, C, h, w).
        side: pixels.
        centred: subtract the mean of the image's features, for features whose cosines are all near one.
    """

    extractor: FeatureExtractor
    side: int
    centred: bool = False

    @torch.inference_mode()
    def of(self, image: Tensor) -> Tensor:
        """The features (C, h, w) of an image (3, H, W) uint8, on the network's device."""
        device = next((p.device for p in self.extractor.parameters()), torch.device("cpu"))
        square = square_image(image, self.side).to(device).float().div(255)
        features = self.extractor(square[None])[0].float()
        return features - features.mean((1, 2), keepdim=True) if self.centred else features


def square_image(image: Tensor, side: int) -> Tensor:
    """Resize (3, H, W) uint8 to (3, side, side) uint8 with Lanczos' filter; proportions are not kept."""
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    resized = picture.resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def load_grid_features(
    settings: FeatureSettings, side: int, device: torch.device | str = "cpu"
) -> GridFeatures:
    """Build one network with the weights of its file.

    Args:
        settings: which one.
        side: of the images, pixels, where the settings name none.
        device: where it runs.

    Raises:
        WeightsError: weights are missing, or of another network.
    """
    if settings.name in PACKAGED or settings.name == "learnt":
        own = open_features(settings.name, device, settings.weights, place=False)
        return GridFeatures(own, settings.side or PACKAGED_SIDE, centred=True)
    if settings.weights is None:
        raise WeightsError(
            f"the features {settings.name!r} need weights",
            hint="give --feature-weights FILE, or use --features embedded",
        )
    side = settings.side or side
    state = dino.to_network(load_checkpoint(find_weights(settings.weights)).state_dict)
    if settings.name in VOTECUT_NETWORKS or _is_dino(settings.name):
        network = SquareVit.from_official(state, side)
        _check_size(settings, network)
        extractor: FeatureExtractor = network.eval().requires_grad_(False).to(device)
        return GridFeatures(extractor, network.side)
    extractor = build_features(settings.name, state, device)
    return GridFeatures(extractor, side // extractor.stride * extractor.stride)


def weights_hashes(features: tuple[FeatureSettings, ...]) -> tuple[str, ...]:
    """SHA-256 of each network's weights file; empty where there is none."""
    files = (features_file(entry.name, entry.weights) for entry in features)
    return tuple("" if file is None else file_hash(file) for file in files)


def _is_dino(name: str) -> bool:
    """Whether a timm name means a DINO or DINOv2 transformer without registers."""
    return (
        name.startswith("vit_") and ".dino" in f".{name.replace('_dinov2', '.dinov2')}" and "reg" not in name
    )


def _check_size(settings: FeatureSettings, network: SquareVit) -> None:
    """Refuse weights of another size than the name says."""
    widths = {"small": 384, "base": 768, "large": 1024, "giant": 1536, "s": 384, "b": 768}
    family, _, rest = settings.name.partition("_")
    if family == "vit":
        size, patch = rest.split("_")[:2]
        width, stride = widths.get(size), int("".join(c for c in patch if c.isdigit()) or 0)
    else:
        width, stride = widths[rest[0]], int(rest[1:])
    if (width, stride) != (network.channels, network.stride):
        raise WeightsError(
            f"{settings.weights} holds a ViT of width {network.channels} with patches of {network.stride} pixels, "
            f"not {settings.name}",
            hint="name the network these weights belong to",
        )
