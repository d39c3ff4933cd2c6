"""The templates that QuadMix keeps from one iteration to the next; part of a training's checkpoint.

Source: UDASS specification, image 2.6 ("bank"), video 5.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nolabel.methods.quadmix.clip import Clip

__all__ = ["Templates"]


@dataclass(frozen=True)
class Templates:
    """The samples of the iteration before, not augmented. Sample i is pasted onto sample i.

    Attributes:
        source: with true labels.
        target: with pseudo labels, their weight and their confidence.
        target_classes: (B, 256) bool, if the classes to paste were drawn when the target was kept.
    """

    source: Clip
    target: Clip
    target_classes: Tensor | None = None

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds; labels as bytes."""
        state = {
            f"{side}.{part.name}": value
            for side in ("source", "target")
            for part in fields(Clip)
            if (value := getattr(getattr(self, side), part.name)) is not None
        }
        for name in ("source.labels", "target.labels"):
            state[name] = state[name].to(torch.uint8)
        if self.target_classes is not None:
            state["target_classes"] = self.target_classes
        return state

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Templates:
        """Make the templates of a checkpoint again, on a device."""
        parts: dict[str, dict[str, Tensor]] = {"source": {}, "target": {}}
        for name, value in state.items():
            side, _, part = name.partition(".")
            if part:
                value = value.to(device)
                parts[side][part] = value.long() if part == "labels" else value
        classes = state.get("target_classes")
        return cls(
            Clip(**parts["source"]),
            Clip(**parts["target"]),
            None if classes is None else classes.to(device),
        )
