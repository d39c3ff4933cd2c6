"""The whole network: from one image to a field, from compact features to classes (SceneDINO specification, 3 and 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.features.descriptors import DenseDescriptors
from nolabel.models.features.extractor import FeatureExtractor
from nolabel.models.features.vit_maps import VitMaps
from nolabel.models.rendering.contract import Views
from nolabel.models.scenedino.config import SceneDinoConfig
from nolabel.models.scenedino.dpt_decoder import DptDecoder, ResizingDecoder
from nolabel.models.scenedino.field import Cameras, FoldedField, SceneField
from nolabel.models.scenedino.point_decoder import PointDecoder
from nolabel.models.scenedino.positional_code import PositionalCode
from nolabel.models.scenedino.reduction import SalienceDownsampler, build_expansion, cells_of, shrink
from nolabel.models.scenedino.semantic_head import PredictionMode, SemanticHead

__all__ = ["ImageEncoder", "SceneDino"]

ARTIFACT_SCALE = 0.001  # standard deviation of the artifact field at the start


class ImageEncoder(nn.Module):
    """Images to the map the field is read from.

    Args:
        config: of the network.
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__()
        self.vit = VitMaps(config.vit)
        self.decoder: DptDecoder | ResizingDecoder
        if config.decoder == "dpt":
            if len(config.vit.taps) != 3:
                raise ConfigError(f"DPT takes three taps and the last map, not taps {config.vit.taps}")
            self.decoder = DptDecoder(config.vit.width, config.reassembled, config.decoded)
        else:
            self.decoder = ResizingDecoder(config.vit.width, config.decoder)

    def forward(self, images: Tensor, matrix: Tensor | None = None) -> Tensor:
        """Map RGB (B, 3, H, W) in [0, 1] to (B, C, h, w).

        Args:
            images: sides are multiples of the transformer's stride.
            matrix: (O, C) that meets every feature; it is folded into the last layers. The identity by default.
        """
        maps, size = self.vit.maps(images), (images.shape[-2], images.shape[-1])
        return self.decoder(maps, size) if matrix is None else self.decoder.folded(maps, matrix, size)


class SceneDino(nn.Module):
    """SceneDINO.

    Args:
        config: sizes and kinds.
    """

    def __init__(self, config: SceneDinoConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SceneDinoConfig()
        self.encoder = ImageEncoder(config)
        self.target: FeatureExtractor | None = None
        if config.target == "descriptors":
            self.target = DenseDescriptors()
        elif not isinstance(config.target, str) and config.target is not None:
            self.target = VitMaps(config.target)
        elif config.target == "shared":
            self.encoder.vit.requires_grad_(False)
        if self.target is not None:
            self.target.requires_grad_(False)
        learned = self.encoder.vit if config.target == "shared" else self.target
        if learned is not None and (learned.channels, learned.stride) != (config.channels, config.stride):
            raise ConfigError(
                f"the targets have {learned.channels} channels, one vector for {learned.stride} pixels; the network was "
                f"to have channels={config.channels} and stride={config.stride}"
            )
        self.target_mean: Tensor | None
        self.register_buffer("target_mean", torch.zeros(config.channels) if config.centred else None)
        self.code = PositionalCode(
            config.frequencies, config.factor, config.depth, config.inverse, config.near, config.far
        )
        compact = config.channels if config.expansion == "none" else config.compact
        self.point_decoder = PointDecoder(
            self.encoder.decoder.channels, self.code.channels, config.hidden, compact, config.blocks
        )
        self.expansion = build_expansion(config.expansion, compact, config.channels, config.expansion_hidden)
        self.downsampler = (
            SalienceDownsampler(config.channels, config.stride) if config.downsampler == "salience" else None
        )
        self.artifacts: nn.Parameter | None = None
        if config.artifacts:
            rows, columns = (side // config.stride for side in config.image_size)
            self.artifacts = nn.Parameter(ARTIFACT_SCALE * torch.randn(config.channels, rows, columns))
        self.semantic_head: SemanticHead | None = None
        if config.head is not None:
            self.semantic_head = SemanticHead(config.channels, **vars(config.head))

    def encode(
        self, view: Views, colours: Views | None = None, *, mirrored: bool = False, folded: bool = False
    ) -> SceneField:
        """Look at images and return the field behind them.

        Args:
            view: one image of each of N scenes, V = 1; sides are multiples of the transformer's stride.
            colours: views the field's colours are looked up in.
            mirrored: let the encoder see the mirror image, and mirror what it gives back: an augmentation.
            folded: return a :class:`FoldedField`: the same function, cheaper where many points are asked for.

        Raises:
            ValueError: more than one image of a scene.
        """
        if view.images.shape[1] != 1:
            raise ValueError(f"the field is made from one image of a scene, not {view.images.shape[1]}")
        images = view.images[:, 0]
        matrix = self.point_decoder.map_matrix if folded else None
        features = self.encoder(images.flip(-1) if mirrored else images, matrix)
        features = features.flip(-1) if mirrored else features
        kind = FoldedField if folded else SceneField
        return kind(features, Cameras.of(view), self.code, self.point_decoder, colours)

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """Features to be learned, of RGB (B, 3, H, W) in [0, 1]: unit vectors (B, channels, H / stride, W / stride).

        Raises:
            ConfigError: the network was built without a target.
        """
        found = self._whole_targets(images)
        if self.target_mean is None:
            return found
        return F.normalize(found - self.target_mean[:, None, None].to(found.dtype), dim=1)

    @torch.no_grad()
    def centre_targets(self, images: Tensor) -> None:
        """Take the mean of the targets of RGB (B, 3, H, W) in [0, 1] off all targets from now on.

        Raises:
            ConfigError: the network was not built for that (``centred``).
        """
        if self.target_mean is None:
            raise ConfigError(
                "this network's targets have no mean to take off", hint="build it with centred=true"
            )
        self.target_mean.copy_(self._whole_targets(images).mean(dim=(0, 2, 3)))

    def _whole_targets(self, images: Tensor) -> Tensor:
        extractor = self.encoder.vit if self.config.target == "shared" else self.target
        if extractor is None:
            raise ConfigError("this network has no target features", hint="it is for inference alone")
        return F.normalize(extractor(images), dim=1)

    def down_sample(self, patches: Tensor) -> Tensor:
        """Expanded features of cells (..., stride, stride, channels) to one vector each, (..., channels)."""
        if self.downsampler is not None:
            return self.downsampler(patches)
        return shrink(patches, self.config.stride)[..., 0, 0, :]

    def down_sample_image(self, features: Tensor) -> Tensor:
        """Expanded features of an image (..., H, W, channels) to (..., H / stride, W / stride, channels)."""
        if self.downsampler is not None:
            return self.downsampler(cells_of(features, self.config.stride))
        return shrink(features, self.config.stride)

    def classify(self, compact: Tensor, mode: PredictionMode = "stego_kmeans") -> Tensor:
        """Classes (...) int64 of compact features (..., compact).

        Raises:
            ConfigError: there is no semantic head: stage 2 has not been trained.
        """
        if self.semantic_head is None:
            raise ConfigError("this network has no semantic head", hint="train stage 2 first")
        return self.semantic_head(self.expansion(compact), mode)
