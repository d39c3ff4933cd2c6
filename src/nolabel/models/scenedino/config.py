"""Sizes and kinds of SceneDINO's network (SceneDINO specification, 2.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nolabel.errors import ConfigError
from nolabel.models.features.descriptors import DenseDescriptors
from nolabel.models.features.vit_maps import VitConfig, VitVersion, vit_config

__all__ = ["HeadConfig", "SceneDinoConfig", "scenedino_config"]

Decoder = Literal["dpt", "nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the semantic head.

    Attributes:
        code: channels of the code.
        clusters: centres of both cluster heads.
        classes: that there are.
        dropout: share of the code's channels dropped while training.
        hidden_probes: probes with a layer between.
    """

    code: int = 64
    clusters: int = 19
    classes: int = 19
    dropout: float = 0.1
    hidden_probes: bool = False


@dataclass(frozen=True)
class SceneDinoConfig:
    """Sizes and kinds; the defaults are those of the released network on DINO's ViT-B/8.

    Attributes:
        vit: the trainable transformer.
        target: what gives the features to be learned: a frozen transformer of its own, the trainable one itself
            (``shared``, which freezes it), the descriptors that need no weights (``descriptors``), or nothing (None).
        channels: length of those features, and of the expanded ones.
        stride: pixels of the image for each of those features.
        centred: whether what all of them have in common is taken off. Three quarters of every DINOv2 token are the same
            everywhere, and a field that says nothing else is a trap for short trainings. Published: not.
        decoder: of the map; all but ``dpt`` are plain resizing to the image's size.
        reassembled: channels of DPT's pyramid, finest first.
        decoded: channels of the decoder.
        compact: channels of a point's features.
        hidden: width of the point decoder.
        blocks: its residual blocks.
        frequencies: of the positional code.
        factor: its lowest frequency, radians.
        depth: what it measures: ``z`` or ``distance``.
        inverse: whether it measures 1 / depth.
        near: where it begins, metres.
        far: where it ends, metres.
        expansion: of compact features.
        expansion_hidden: width of its hidden layer.
        downsampler: how rendered pixels become cells.
        artifacts: whether there is a field of what targets show that no scene has.
        head: the semantic head; None before stage 2.
    """

    vit: VitConfig = field(default_factory=VitConfig)
    target: VitConfig | Literal["shared", "descriptors"] | None = field(
        default_factory=lambda: VitConfig(taps=())
    )
    channels: int = 768
    stride: int = 8
    centred: bool = False
    decoder: Decoder = "dpt"
    reassembled: tuple[int, int, int, int] = (64, 64, 128, 256)
    decoded: int = 256
    compact: int = 64
    hidden: int = 128
    blocks: int = 0
    frequencies: int = 6
    factor: float = 1.5
    depth: Literal["z", "distance"] = "z"
    inverse: bool = True
    near: float = 3.0
    far: float = 80.0
    expansion: Literal["mlp", "orthogonal-linear", "none"] = "mlp"
    expansion_hidden: int = 128
    downsampler: Literal["salience", "bilinear"] = "salience"
    artifacts: bool = True
    head: HeadConfig | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the images it is made for; others are fine, too."""
        rows, columns = self.vit.grid
        return rows * self.vit.stride, columns * self.vit.stride

    def to_card(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_card` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> SceneDinoConfig:
        """Read what :meth:`to_card` gave, possibly through JSON.

        Raises:
            ConfigError: unknown fields.
        """
        kinds: dict[str, Any] = {"vit": VitConfig, "target": VitConfig, "head": HeadConfig}
        values = _tuples(card)
        try:
            for name, kind in kinds.items():
                if isinstance(values.get(name), Mapping):
                    values[name] = kind(**_tuples(values[name]))
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"this is no SceneDINO network of this version: {error}") from None


def scenedino_config(
    architecture: str = "vit-b",
    version: VitVersion = "v1",
    image_size: tuple[int, int] = (192, 640),
    token: int | None = None,
    **changes: Any,
) -> SceneDinoConfig:
    """Return the configuration for a known transformer, which is also the target's unless ``changes`` say otherwise.

    Args:
        architecture: ``vit-b``, ``vit-s``, ``vit-t``.
        version: DINO ``v1`` (patch 8), ``v1_16``; DINOv2 ``v2``, with registers ``reg``.
        image_size: rows and columns.
        token: pixels of the image per token of the transformers; the published number by default.
        changes: other fields of :class:`SceneDinoConfig`.

    Raises:
        ConfigError: no such transformer or field, or the image is no whole number of tokens.
    """
    vit = vit_config(architecture, version, image_size, token)
    learned = DenseDescriptors() if changes.get("target") == "descriptors" else None
    values: dict[str, Any] = {
        "vit": vit,
        "target": dataclasses.replace(vit, taps=()),
        "channels": vit.width if learned is None else learned.channels,
        "stride": vit.stride if learned is None else learned.stride,
        **changes,
    }
    try:
        return SceneDinoConfig(**values)
    except TypeError as error:
        raise ConfigError(str(error)) from None


def _tuples(card: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where configurations have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in card.items()}
