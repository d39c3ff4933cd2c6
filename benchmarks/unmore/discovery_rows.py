"""Discovery of one image: fast as built and plainly as described, with perfect networks and with the cost of a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.unmore.painted import exists, look, painted_scene
from benchmarks.unmore.plain_reasoning import PlainReasoning
from nolabel.methods.unmore.discover import discover_images
from nolabel.methods.unmore.reasoning.looking import Counts
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.models.objectness import build_existence, build_objectness
from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessMaps, ObjectnessNetwork

SIZE = (240, 320)
OBJECTS = [(70, 70, 45, 40), (190, 60, 50, 35), (275, 150, 30, 60), (110, 180, 60, 45), (210, 200, 28, 28)]


@dataclass(frozen=True)
class Found:
    """What a run cost: proposals, network calls, crops, and boxes found."""

    calls: dict[str, int]
    crops: dict[str, int]
    boxes: int

    def __str__(self) -> str:
        parts = [f"{name} {self.calls[name]}/{self.crops[name]}" for name in self.calls]
        total = f"{sum(self.calls.values())}/{sum(self.crops.values())}"
        return f"calls/crops {total} ({', '.join(parts)}); {self.boxes} boxes"


class PaidLook(nn.Module):
    """Perfect fields at the price of a network: it runs, and what it draws is not used."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network = build_objectness(architecture).eval()

    def forward(self, crops: Tensor, *, boundary: bool = True, centre: bool = True) -> ObjectnessMaps:
        """Run the network, return the painted fields."""
        self.network(crops, boundary=boundary, centre=centre)
        return look(crops, boundary=boundary, centre=centre)


class PaidExists(nn.Module):
    """Perfect probabilities at the price of a network."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network = build_existence(architecture).eval()

    def forward(self, crops: Tensor) -> Tensor:
        """Run the network, return the painted probabilities."""
        self.network(crops)
        return exists(crops)


def networks(architecture: str | None, device: str) -> tuple[ObjectnessNetwork, ExistenceNetwork]:
    """Perfect networks, alone or with the cost of an architecture."""
    if architecture is None:
        return look, exists
    known = {"dpt_large": "resnet50"}
    return PaidLook(architecture).to(device), PaidExists(known.get(architecture, architecture)).to(device)


def prepare(architecture: str | None, plain: bool, precision: str = "float32") -> Callable[[Bench], Work]:
    """One scene of five objects, two pairs of which touch."""

    def prepared(bench: Bench) -> Work:
        scene = painted_scene(*SIZE, OBJECTS)
        objectness, existence = networks(architecture, bench.device)

        def fast() -> Found:
            counts = Counts()
            settings = ReasoningSettings(precision=precision)  # type: ignore[arg-type]
            (found,) = discover_images([scene], objectness, existence, settings, counts=counts)
            of_reasoning = [name for name in counts.calls if name in ("existence", "centre", "boundary")]
            return Found(
                {name: counts.calls[name] for name in of_reasoning},
                {name: counts.crops[name] for name in of_reasoning},
                len(found.boxes),
            )

        def slow() -> Found:
            reasoning = PlainReasoning(scene.to(bench.device), objectness, existence)
            with torch.inference_mode():
                boxes = reasoning.find()
            return Found(reasoning.calls, reasoning.crops, len(boxes))

        return slow if plain else fast

    return prepared


_TITLE = f"discovery of one image {SIZE[0]}x{SIZE[1]}"
ROWS = (
    Row("discover", f"{_TITLE}, networks free", prepare(None, False), note=str),
    Row("discover-plain", "the same, box by box and round by round", prepare(None, True), note=str),
    Row("discover-tiny", f"{_TITLE}, tiny networks", prepare("tiny", False), note=str),
    Row("discover-tiny-plain", "the same, box by box and round by round", prepare("tiny", True), note=str),
    Row("discover-dpt", f"{_TITLE}, DPT-Large", prepare("dpt_large", False), note=str, large=True),
    Row(
        "discover-dpt-half",
        f"{_TITLE}, DPT-Large in bfloat16",
        prepare("dpt_large", False, "bfloat16"),
        note=str,
        large=True,
    ),
)
