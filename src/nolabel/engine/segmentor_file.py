"""What a segmentation network is on disk: tensors and a card, so that prediction needs nothing else.

The card of ``model.safetensors`` holds the architecture with its options, the label space, and the size at which the
network looks at images. Official checkpoints (DeepLabV3+, 688 tensors; HRDA, DAFormer) need no card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentation_networks import OFFICIAL_MARK, load_network_state
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import CITYSCAPES_19, LabelSpace
from nolabel.labels.cards import space_from_card, space_to_card
from nolabel.models.segmentation import Segmentor, build_segmentor
from nolabel.weights import Checkpoint, Part, find_weights, load_checkpoint, save_safetensors, select_part
from nolabel.weights.layouts import mmseg
from nolabel.weights.layouts.mmseg import OfficialNetwork

__all__ = [
    "CARD_KIND",
    "MODEL_FILE",
    "TEACHER_FILE",
    "SegmentorModel",
    "load_model",
    "model_path",
    "plain_options",
    "save_model",
]

CARD_KIND = "segmentor"
MODEL_FILE = "model.safetensors"
TEACHER_FILE = "teacher.safetensors"
OFFICIAL_CLASSIFIER = "sem_seg_head.predictor.bias"
_OWN_KEYS = frozenset({"kind", "architecture", "options", "num_logits", "space", "inference"})


@dataclass(frozen=True)
class SegmentorModel:
    """A segmentation network with all that is needed to use it.

    Attributes:
        network: the network, in evaluation mode.
        architecture: its name, as in :func:`nolabel.models.segmentation.build_segmentor`.
        space: what its first logits mean; a logit beyond is void.
        options: of ``build_segmentor``, JSON values.
        inference: the size at which it looks at images.
        source: the file it came from.
        facts: what else its card says (stage, steps, scores, ...).
    """

    network: Segmentor
    architecture: str
    space: LabelSpace
    options: Mapping[str, Any] = field(default_factory=dict)
    inference: InferenceSize = field(default_factory=InferenceSize)
    source: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.network.num_logits not in (self.space.num_classes, self.space.num_classes + 1):
            raise ConfigError(
                f"a network with {self.network.num_logits} logits does not fit {self.space.name}, which has "
                f"{self.space.num_classes} classes",
                hint="one logit for each class, and possibly one for void",
            )

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def save_model(model: SegmentorModel, path: Path, **facts: Any) -> Path:
    """Write tensors and card, whole or not at all.

    Args:
        model: what :func:`load_model` gives back; its own facts are kept.
        path: the file.
        facts: more entries of the card (training data, steps, scores), JSON values.
    """
    card = {
        **model.facts,
        **facts,
        "kind": CARD_KIND,
        "architecture": model.architecture,
        "options": dict(model.options),
        "num_logits": model.network.num_logits,
        "space": space_to_card(model.space),
        "inference": model.inference.model_dump(mode="json"),
    }
    return save_safetensors(path, model.network.state_dict(), card)


def model_path(path: str | Path, part: Part = "student") -> Path:
    """Return the file of a network: of a run folder, itself, or of a registered name.

    Args:
        path: run folder, file or name.
        part: of a run folder that has both.

    Raises:
        WeightsError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return path if path.exists() else find_weights(str(path))
    name = MODEL_FILE if part == "student" else TEACHER_FILE
    found = next((p for p in (path / name, path / "final" / name) if p.is_file()), None)
    if found is None:
        raise WeightsError(
            f"{path} holds no {name}: its training has not finished, or had none.",
            hint=f"continue it with the same command, then use {path} again",
        )
    return found


def load_model(
    path: str | Path,
    *,
    space: LabelSpace | None = None,
    options: Mapping[str, Any] | None = None,
    part: Part = "student",
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
) -> SegmentorModel:
    """Load a segmentation network from a run folder, a file of ours, or an official checkpoint.

    Args:
        path: run folder (of a stage, or of all of them), ``model.safetensors``, official ``model_final.pth``, the student
            of a checkpoint of UDASS, MIC, HRDA or DAFormer, what ``nolabel convert`` made of these, or the name of a
            registered file.
        space: what the classes of an official checkpoint mean; the 19 of Cityscapes by default.
        options: changes to the network's options that its weights do not depend on (``dropout``, ``pooling_window``;
            HRDA: ``window``, ``overlapping``, ``fixed_attention``, 0 for the context alone and 1 for detail alone).
        part: of run folders and checkpoints with a student and its teacher.
        device: where the network goes.
        checkpoint: what is in the file, where it was read before.

    Raises:
        WeightsError: no such file, no segmentation network, or tensors that do not fit.
        ConfigError: the space does not fit the network.
    """
    file = model_path(path, part)
    checkpoint = checkpoint or load_checkpoint(file)
    card, state = checkpoint.metadata, checkpoint.state_dict
    if card.get("kind") == CARD_KIND:
        model = _from_card(card, file, dict(options or {}))
        part = "student"  # our files hold one network each
    else:
        model = _from_official(state, file, space or CITYSCAPES_19, dict(options or {}))
    load_network_state(model.network, state, part)
    model.network.to(device).eval()
    return model


def _from_card(card: Mapping[str, Any], file: Path, changes: Mapping[str, Any]) -> SegmentorModel:
    options = {**card["options"], **changes}
    return SegmentorModel(
        build_segmentor(card["architecture"], card["num_logits"], **plain_options(options)),
        card["architecture"],
        space_from_card(card["space"]),
        options,
        InferenceSize.model_validate(card["inference"]),
        file,
        {key: value for key, value in card.items() if key not in _OWN_KEYS},
    )


def _from_official(
    state: dict[str, Tensor], file: Path, space: LabelSpace, changes: Mapping[str, Any]
) -> SegmentorModel:
    student = select_part(state)
    if not mmseg.is_official(student):
        kind, size = OfficialNetwork("deeplab_v3_plus", _official_logits(state, file)), InferenceSize()
    else:
        kind = mmseg.describe(student)
        # What looks at two resolutions was trained and scored on full Cityscapes images, the others on half of them.
        full = kind.name.startswith("hrda_")
        size = InferenceSize() if full else InferenceSize(shortest_edge=512, longest_edge=1024)
    options = {**kind.options, **changes}
    network = build_segmentor(kind.name, kind.num_logits, **plain_options(options))
    return SegmentorModel(network, kind.name, space, options, size, file)


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with tuples where JSON and YAML have lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _official_logits(state: Mapping[str, Tensor], file: Path) -> int:
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if OFFICIAL_CLASSIFIER not in names:
        parts = any(name.startswith(OFFICIAL_MARK) for name in names)
        why = f"{OFFICIAL_CLASSIFIER} is missing" if parts else "neither a card nor an official layout"
        raise WeightsError(
            f"{file} is no segmentation network: {why}",
            hint="give the run folder of a training, its model.safetensors, or an official model_final.pth",
        )
    return len(names[OFFICIAL_CLASSIFIER])
