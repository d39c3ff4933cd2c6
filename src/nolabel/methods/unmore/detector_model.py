"""What a trained detector is on disk: tensors and a card, or an official checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.engine.devices import pick_device
from nolabel.errors import WeightsError
from nolabel.labels import BINARY_2, LabelSpace
from nolabel.models.backbones import ResNetConfig
from nolabel.models.detection import ClassAgnosticConfig, ClassAgnosticMaskRCNN
from nolabel.weights import find_weights, load_checkpoint, save_safetensors
from nolabel.weights.layouts import unmore_detector
from nolabel.weights.layouts.cascade_mask_rcnn import (
    BACKBONE_PREFIX,
    backbone_state,
    detector_sizes,
    is_backbone,
)
from nolabel.weights.strict import strict_state

__all__ = [
    "DetectorModel",
    "load_detector",
    "load_initial_weights",
    "network_from_state",
    "open_predictor",
    "save_detector",
]

MODEL_FILE = "model.safetensors"
CARD_KIND = "unmore_detector"
INPUT_SIDES = (800, 1333)
OWN_KEYS = frozenset({"kind", "network", "input_sides"})


@dataclass(frozen=True)
class DetectorModel:
    """A class-agnostic detector and how images are given to it.

    Attributes:
        network: the network, in evaluation mode.
        input_sides: shorter and longest side that images are scaled to, pixels.
        confidence_threshold: objects with a lower score are left out; 0 keeps the best 100 boxes of every image, which is
            what the evaluation protocols want.
        source: the file it came from.
        facts: what else its card says (training data, steps, ...).
    """

    network: ClassAgnosticMaskRCNN
    input_sides: tuple[int, int] = INPUT_SIDES
    confidence_threshold: float = 0.0
    source: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> LabelSpace:
        """The label space of the results: background and object."""
        return BINARY_2

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.pixel_mean.device


def save_detector(model: DetectorModel, path: Path, **facts: Any) -> Path:
    """Write tensors and card; ``facts`` are more entries of the card, JSON values."""
    card = {
        **model.facts,
        **facts,
        "kind": CARD_KIND,
        "network": model.network.config.to_dict(),
        "input_sides": list(model.input_sides),
    }
    save_safetensors(path, model.network.state_dict(), card)
    return path


def load_detector(
    path: Path, *, confidence_threshold: float = 0.0, device: torch.device | str = "cpu"
) -> DetectorModel:
    """Load a detector from a run folder, a file of ours, or an official checkpoint (unMORE, CutLER, CuVLER).

    Args:
        path: run folder, ``model.safetensors``, or a detectron2-style checkpoint.
        confidence_threshold: score from which objects are kept.
        device: where the network goes.

    Raises:
        WeightsError: no such file, no class-agnostic detector, or tensors that do not fit.
    """
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise WeightsError(
                f"{path} holds no {MODEL_FILE}: its training has not finished, or it is another stage's.",
                hint=f"continue it with the same `nolabel unmore train-detector` command, then use {path} again",
            )
        path = path / MODEL_FILE
    checkpoint = load_checkpoint(path)
    card = checkpoint.metadata
    if "kind" in card and card["kind"] != CARD_KIND:
        raise WeightsError(f"{path} is no detector of unMORE, but {card['kind']}")
    ours = card.get("kind") == CARD_KIND
    config = ClassAgnosticConfig.from_dict(card["network"]) if ours else None
    network = network_from_state(checkpoint.state_dict, config).to(device)
    short, long = card["input_sides"] if ours else INPUT_SIDES
    facts = {key: value for key, value in card.items() if key not in OWN_KEYS} if ours else {}
    return DetectorModel(network, (int(short), int(long)), confidence_threshold, path, facts)


def open_predictor(name: str, device: str = "auto") -> DetectorModel | Path:
    """Open what is to be scored: the path of a JSON file of predictions, or else a detector with all its boxes.

    Args:
        name: JSON file, run folder, checkpoint, or the name of registered weights.
        device: where a detector goes; ``"auto"`` takes an accelerator where there is one.

    Raises:
        WeightsError: neither.
    """
    path = Path(name)
    if path.suffix == ".json":
        return path
    return load_detector(path if path.exists() else find_weights(name), device=pick_device(device))


def network_from_state(
    state: Mapping[str, Any], config: ClassAgnosticConfig | None = None
) -> ClassAgnosticMaskRCNN:
    """Build the network that a checkpoint belongs to and fill it; evaluation mode, on the CPU.

    Args:
        state: name -> tensor of an official file or of one of ours.
        config: thresholds, anchors and samplings; its sizes give way to those of the tensors.

    Raises:
        WeightsError: tensors are missing, left over or of another shape.
    """
    tensors = unmore_detector.network_state(state)
    network = ClassAgnosticMaskRCNN(_with_sizes(config or ClassAgnosticConfig(), tensors))
    network.load_state_dict(strict_state(network.state_dict(), tensors))
    return network.eval()


def load_initial_weights(network: ClassAgnosticMaskRCNN, weights: str | Path) -> None:
    """Fill a new network from weights that exist.

    Args:
        network: filled in place. A ResNet goes into the backbone and leaves everything else as it is.
        weights: a ResNet (``dino_RN50_pretrain_d2_format.pkl``, timm's or torchvision's names, or a run of ``nolabel
            pretrain features`` with all of its stages), a detector or its run folder, or the registered name of one
            (``dino_resnet50_d2``).

    Raises:
        WeightsError: no such weights, or they belong to another network.
    """
    path = Path(weights)
    if path.is_dir():
        path = path / MODEL_FILE
    state = load_checkpoint(find_weights(str(path) if path.exists() else str(weights))).state_dict
    if is_backbone(state):
        found = strict_state(network.state_dict(), backbone_state(state), only=BACKBONE_PREFIX)
        network.load_state_dict(found, strict=False)
        return
    found = unmore_detector.network_state(state)
    network.load_state_dict(strict_state(network.state_dict(), found))


def _with_sizes(config: ClassAgnosticConfig, state: Mapping[str, Tensor]) -> ClassAgnosticConfig:
    """Return ``config`` with every size that the tensors tell; thresholds and anchors stay."""
    sizes = detector_sizes(state)
    stages = sizes["num_stages"]
    return replace(
        config,
        resnet=ResNetConfig(
            sizes["stem_channels"], sizes["res2_channels"], sizes["bottleneck_channels"], sizes["blocks"]
        ),
        pyramid_channels=sizes["pyramid_channels"],
        cascade=replace(
            config.cascade,
            box_channels=sizes["box_channels"],
            mask_channels=sizes["mask_channels"],
            stage_ious=config.cascade.stage_ious[:stages],
            stage_weights=config.cascade.stage_weights[:stages],
        ),
    )
