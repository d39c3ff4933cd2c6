"""What a trained CUPS network is on disk: tensors and a card, so that prediction needs nothing else.

The card of ``model.safetensors`` holds the network's configuration, the original pseudo-classes behind its
clusters, and, once the clusters were matched with named classes, the alignment and the label space. After
self-training the file holds two networks, named as in official checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from nolabel.errors import WeightsError
from nolabel.labels import LABEL_SPACES, LabelSpace, pseudo_space
from nolabel.labels.cards import space_from_card, space_to_card
from nolabel.methods.cups.alignment import CARD_KIND, read_alignment
from nolabel.methods.cups.checkpoint import panoptic_from_checkpoint
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.weights import load_checkpoint, save_safetensors
from nolabel.weights.layouts.cups import STUDENT_PREFIX, TEACHER_PREFIX

__all__ = ["MODEL_FILE", "CupsModel", "load_model", "save_model"]

MODEL_FILE = "model.safetensors"
OWN_KEYS = frozenset({"kind", "network", "alignment", "space"})
# The released checkpoint: its stuff and thing clusters, and their Cityscapes trainIds (spec cups_model, section 8).
RELEASED_CLUSTERS = (22, 5)
RELEASED_ALIGNMENT = (7, 4, 2, 4, 2, 6, 2, 0, 5, 8, 0, 2, 9, 10, 3, 8, 1, 2, 0, 0, 0, 0, 11, 13, 18, 15, 14)


@dataclass(frozen=True)
class CupsModel:
    """A panoptic network with the meaning of its clusters.

    Attributes:
        network: the network, in evaluation mode.
        alignment: class of each cluster (stuff clusters first), 255 = none; ``None`` before any matching.
        space: the label space of ``alignment``; ``None`` before any matching.
        source: the file it came from.
        facts: what else its card says (original pseudo-classes, steps, ...).
    """

    network: PanopticCascadeMaskRCNN
    alignment: tuple[int, ...] | None = None
    space: LabelSpace | None = None
    source: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_clusters(self) -> int:
        """Stuff and thing clusters together."""
        return self.network.config.num_stuff + self.network.config.num_things

    @property
    def output_space(self) -> LabelSpace:
        """The named classes where the clusters were matched, else the clusters themselves."""
        if self.space is not None:
            return self.space
        stuff = self.network.config.num_stuff
        return pseudo_space(self.num_clusters, range(stuff, self.num_clusters))

    def lookup(self) -> torch.Tensor:
        """Return the (256,) int64 table cluster -> class of the output space, 255 = void."""
        table = torch.full((256,), 255, dtype=torch.long)
        aligned = self.alignment if self.alignment is not None else range(self.num_clusters)
        table[: self.num_clusters] = torch.as_tensor(list(aligned))
        return table

    def aligned(self, alignment: tuple[int, ...], space: LabelSpace) -> CupsModel:
        """Return the model with its clusters matched to the classes of ``space``."""
        return replace(self, alignment=alignment, space=space)


def save_model(
    model: CupsModel, path: Path, *, teacher: PanopticCascadeMaskRCNN | None = None, **facts: Any
) -> Path:
    """Write tensors and card.

    Args:
        model: what :func:`load_model` gives back by default; its own facts are kept.
        path: the file.
        teacher: what :func:`load_model` gives back for ``part="teacher"``.
        facts: more entries of the card (training data, steps, scores), JSON values.
    """
    state = model.network.state_dict()
    if teacher is not None:
        state = {
            f"{prefix}{name}": tensor
            for prefix, network in ((STUDENT_PREFIX, model.network), (TEACHER_PREFIX, teacher))
            for name, tensor in network.state_dict().items()
        }
    card = {
        **model.facts,
        **facts,
        "kind": CARD_KIND,
        "network": model.network.config.to_dict(),
        "alignment": None if model.alignment is None else list(model.alignment),
        "space": None if model.space is None else space_to_card(model.space),
    }
    save_safetensors(path, state, card)
    return path


def load_model(
    path: Path,
    *,
    part: Literal["student", "teacher"] = "student",
    confidence_threshold: float | None = None,
    device: torch.device | str = "cpu",
) -> CupsModel:
    """Load a CUPS network from a run folder, a file of ours, or an official checkpoint.

    A matching stored beside a checkpoint (:mod:`nolabel.methods.cups.alignment`) names its clusters.

    Args:
        path: run folder, ``model.safetensors``, Lightning ``.ckpt`` or detectron2-style checkpoint.
        part: which network of a self-training checkpoint.
        confidence_threshold: replaces the score from which instances are kept.
        device: where the network goes.

    Raises:
        WeightsError: no such file, not a CUPS network, or tensors that do not fit.
    """
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise WeightsError(
                f"{path} holds no {MODEL_FILE}: its training has not finished.",
                hint=f"continue it with the same `nolabel cups train` or `self-train` command, then use {path} again",
            )
        path = path / MODEL_FILE
    checkpoint = load_checkpoint(path)
    card = checkpoint.metadata
    ours = card.get("kind") == CARD_KIND
    config = PanopticConfig.from_dict(card["network"]) if ours else PanopticConfig()
    if confidence_threshold is not None:
        config = replace(config, confidence_threshold=confidence_threshold)
    if card.get("part") == part:
        part = "student"  # what was converted is that part alone, and has no prefix any more
    network = panoptic_from_checkpoint(checkpoint.state_dict, config, part=part)
    facts = {key: value for key, value in card.items() if key not in OWN_KEYS} if ours else {}
    model = CupsModel(network.to(device), source=path, facts=facts)
    if ours and card.get("alignment"):
        return model.aligned(tuple(card["alignment"]), space_from_card(card["space"]))
    stored = None if ours else read_alignment(path, model.num_clusters)
    if stored is not None:
        return model.aligned(*stored)
    if not ours and (network.config.num_stuff, network.config.num_things) == RELEASED_CLUSTERS:
        return model.aligned(RELEASED_ALIGNMENT, LABEL_SPACES["cityscapes_19"])
    return model
