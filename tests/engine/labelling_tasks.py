"""Small labelling tasks, importable by spawned processes; run as a script it labels a folder."""

import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nolabel.engine import ItemResult, label_items
from nolabel.engine.executors import worker_device
from nolabel.errors import DataError, WeightsError
from nolabel.structures.files import DiskFullError


@dataclass(frozen=True)
class NoiseTask:
    """Writes noise that every source of randomness took part in."""

    count: int = 8
    fingerprint: str = "noise"
    bad: tuple[int, ...] = ()
    bug: int | None = None
    full: int | None = None
    broken_setup: bool = False
    seconds: float = 0.0
    setups: Path | None = None

    def items(self) -> list[str]:
        return [f"city/clip {i:03d}" for i in range(self.count)]

    def setup(self) -> torch.Tensor:
        if self.broken_setup:
            raise WeightsError("the weights are gone")
        if self.setups is not None:
            (self.setups / str(time.monotonic_ns())).touch()
        return torch.linspace(0, 1, 1000)

    def process(self, state: torch.Tensor, index: int) -> ItemResult:
        time.sleep(self.seconds)
        if index in self.bad:
            raise DataError(f"image {index} is corrupt", hint="fetch it again")
        if index == self.bug:
            raise ZeroDivisionError("a bug")
        if index == self.full:
            raise DiskFullError("the disk is full")
        noise = torch.rand(1000) * state * random.random() * np.random.rand()  # noqa: NPY002
        files = {f"a/{index}.bin": (noise.cumsum(0)).numpy().tobytes(), f"b/{index}.txt": b"x" * index}
        return ItemResult(files, {"sum": float(noise.sum())})


class PlacedTask(NoiseTask):
    """Records which of three pretended GPUs its worker uses."""

    def setup(self) -> str:
        torch.cuda.device_count = lambda: 3
        return worker_device("cuda")

    def process(self, state: str, index: int) -> ItemResult:
        time.sleep(0.3)  # so that every worker gets items
        return ItemResult({}, {"device": state})


if __name__ == "__main__":
    task = NoiseTask(count=int(sys.argv[2]), seconds=float(sys.argv[3]))
    try:
        label_items(task, Path(sys.argv[1]), executor=sys.argv[4], workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
