"""Optional copies of the log for other tools: TensorBoard and Weights & Biases."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from nolabel.errors import DependencyError

__all__ = ["Logger", "LoggerName", "open_loggers"]

LoggerName = Literal["tensorboard", "wandb"]


class Logger(Protocol):
    """Takes named numbers of a step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers."""
        ...

    def close(self) -> None:
        """Write what is pending."""
        ...


def open_loggers(names: tuple[LoggerName, ...], folder: Path, settings: dict[str, Any]) -> list[Logger]:
    """Open loggers by name.

    Raises:
        DependencyError: the package is not installed.
    """
    return [_KINDS[name](folder, settings) for name in names]


class _TensorBoard:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        module = _need("torch.utils.tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._run = _need("wandb", "wandb").init(
            project="nolabel",
            name=folder.name,
            dir=str(folder),
            id=folder.name,
            resume="allow",
            config=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_KINDS: dict[str, Callable[[Path, dict[str, Any]], Logger]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
}


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DependencyError(
            f"the {package} logger needs {package}", hint=f"pip install 'nolabel[{package}]'"
        ) from None
