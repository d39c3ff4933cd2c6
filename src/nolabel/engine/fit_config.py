"""Settings of the training loop, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import Field

from nolabel.config import Config, load_config
from nolabel.engine.loggers import LoggerName

__all__ = ["FitConfig", "FitResult", "TrainedStage", "load_training"]


class FitConfig(Config):
    """How long, how big, on what, and how often to look."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {"workers", "log_every", "checkpoint_every", "keep", "loggers"}
    )

    steps: int = Field(gt=0)
    """Optimizer steps of the whole run."""
    batch_size: int = Field(1, gt=0)
    """Samples of one micro-batch in one process."""
    accumulate: int = Field(1, gt=0)
    """Micro-batches of one step; gradients are averaged over them."""
    seed: int = Field(0, ge=0)
    """Seed of everything: initial weights, order, augmentation, dropout."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest gradient norm over each optimizer's parameters; no clipping if None."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of forward and backward passes."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: int = Field(1, gt=0)
    """Processes of one machine, one device each."""
    nodes: int = Field(1, gt=0)
    """Machines; start the command on each with torchrun or SLURM."""
    workers: int = Field(0, ge=0)
    """Loader processes of each training process; 0 loads in the training process."""
    validate_every: int | None = Field(None, gt=0)
    """Steps between two validations; the last step is always validated."""
    checkpoint_every: int = Field(500, gt=0)
    """Steps between two checkpoints."""
    keep: int = Field(2, gt=0)
    """Checkpoints kept."""
    log_every: int = Field(10, gt=0)
    """Steps between two lines of the log."""
    loggers: tuple[LoggerName, ...] = ()
    """Copies of the log for other tools."""


@dataclass(frozen=True)
class FitResult:
    """What a run gave.

    Attributes:
        out: the run folder.
        step: steps done.
        metrics: of the last validation.
        seconds: wall time of this call.
        resumed_from: the step this call went on from; None if it began the run.
        already_finished: the run was finished before; nothing was done.
    """

    out: Path
    step: int
    metrics: dict[str, float]
    seconds: float = 0.0
    resumed_from: int | None = None
    already_finished: bool = False


@dataclass(frozen=True)
class TrainedStage:
    """What a stage gave.

    Attributes:
        model: file of the network.
        metrics: of the last look.
        already_finished: the stage was finished before.
    """

    model: Path
    metrics: dict[str, float]
    already_finished: bool = False


Training = TypeVar("Training", bound=Config)


def load_training(
    kind: type[Training],
    section: str,
    recipe: str | None,
    overrides: Sequence[str] | None = None,
    seed: int | None = None,
) -> Training:
    """Build the settings of a training, one section of a recipe.

    Args:
        kind: the schema; its field ``fit`` is a :class:`FitConfig`.
        section: of the recipe.
        recipe: packaged recipe or YAML file; the schema's defaults without one.
        overrides: ``KEY=VALUE``.
        seed: of everything.

    Raises:
        ConfigError: a setting is wrong.
    """
    given = list(overrides or ())
    if seed is not None:
        given.append(f"fit.seed={seed}")
    return load_config(kind, recipe, given, section=section)
