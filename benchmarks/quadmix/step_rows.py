"""Rows of a whole training step of the HRDA recipe: labels, four losses, optimizer, teacher; and what each part takes."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.quadmix.mixing_rows import random_patches
from benchmarks.quadmix.samples import BATCH, CLASSES, clip
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.draws import Plan
from nolabel.methods.quadmix.image_data import image_settings
from nolabel.methods.quadmix.image_iteration import ImageIteration
from nolabel.methods.quadmix.optimizers import build_optimizer
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.methods.quadmix.teacher import AverageTeacher
from nolabel.models.segmentation import HRDA, build_segmentor

RECIPE = "quadmix/image_gta5"


class Parts(defaultdict[str, float]):
    """Seconds by part of a step; ``of`` wraps a function so that its time is added."""

    def __init__(self, device: str) -> None:
        super().__init__(float)
        self.device = device

    def now(self) -> float:
        """CPU seconds, or wall seconds once the GPU is done."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function; ``{}`` in the name stands for its first argument."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = self.now()
            result = function(*arguments, **named)
            self[name.format(*arguments[:1])] += self.now() - start
            return result

        return timed


def settings(side: int) -> ImageConfig:
    """The recipe with crops of another size; everything else scales with them."""
    return image_settings(RECIPE, [f"source_view.crop=[{side},{side}]", f"target_view.crop=[{side},{side}]"])


def prepare_step(bench: Bench, name: str, side: int) -> Work:
    """A step with templates and patches at hand, all gates of the views open."""
    config, device = settings(side), bench.device
    options: Mapping[str, Any] = {"detail_size": side // 2}
    student = build_segmentor(name, CLASSES, **options).train().to(device)
    assert isinstance(student, HRDA)
    teacher = AverageTeacher(copy.deepcopy(student), student, 0.999)
    # Only the backbone of the frozen network is used.
    reference = copy.deepcopy(student).eval().requires_grad_(False)
    optimizer = build_optimizer(student.named_parameters(), config.optimizer)
    iteration = ImageIteration(config, student, num_classes=CLASSES, teacher=teacher, reference=reference)
    old_source, old_target, source, target = (
        clip(seed, labelled, (side, side), device) for seed, labelled in enumerate((False, True) * 2)
    )
    templates, patches = Templates(old_source, old_target), random_patches((side, side), device)
    trusted = torch.ones(BATCH, side, side, dtype=torch.bool, device=device)

    def work() -> Parts:
        parts = Parts(device)
        iteration._learn_source = parts.of("source", ImageIteration._learn_source.__get__(iteration))
        iteration._mixed = parts.of("mixing", ImageIteration._mixed.__get__(iteration))
        iteration._learn = parts.of("{}", ImageIteration._learn.__get__(iteration))
        optimizer.zero_grad(set_to_none=True)
        parts.of("teacher update", teacher.update)(1)
        labelled = parts.of("teacher labels", iteration.label)(target.frames[:, 0], trusted)
        generator = torch.Generator().manual_seed(0)
        draws = iteration.draw(generator, source, labelled, templates, Plan(None, patches.classes))
        iteration.run(draws, source, labelled, torch.Tensor.backward, templates=templates, patches=patches)
        parts.of("optimizer", optimizer.step)()
        return parts

    return work


def shares(parts: Parts) -> str:
    """Say what the parts take."""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


def row(name: str, label: str, network: str, side: int, original: float | None = None, **more: Any) -> Row:
    """A row of a whole step."""
    title = f"QuadMix step, HRDA {label}, 2 + 2 images {side}x{side}"
    prepare = partial(prepare_step, name=network, side=side)
    return Row(name, title, prepare, original, extrapolated=original is not None, note=shares, **more)


ROWS = (
    row("step-b0", "MiT-B0", "hrda_mit_b0", 256),
    # Four training passes (21.1 each), a teacher's 2 + 18 passes at 256x256 (a quarter of 4.2 + 2.7 each), two frozen
    # ones, and the mixing at a quarter of its pixels.
    row("step-b5", "MiT-B5", "hrda_mit_b5", 512, 4 * 21.1 + 20 * 6.9 / 4 + 2 * 4.2 / 4 + 3.2 / 4),
    row("step-b5-full", "MiT-B5", "hrda_mit_b5", 1024, large=True),
)
