"""The folder of a stage that consists of parts: the same command does what is missing, other settings are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nolabel.config import Config
from nolabel.engine.run_folder import RunFolder, StageRecord

__all__ = ["Stage", "stage_folder"]


class Stage:
    """An open stage.

    Attributes:
        path: its folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.path, self._folder = folder.path, folder

    @property
    def result(self) -> dict[str, Any] | None:
        """What :meth:`finish` was given, None before."""
        return self._folder.result()

    def finish(self, **values: Any) -> None:
        """Record that the stage is done, and what came of it."""
        self._folder.finish(**values)


@contextmanager
def stage_folder(path: Path, settings: Config, inputs: Mapping[str, str], seed: int) -> Iterator[Stage]:
    """Hold a stage's folder for this process.

    Args:
        path: the folder, made if absent.
        settings: of the stage.
        inputs: hashes of what it starts from, by name.
        seed: recorded.

    Raises:
        ConfigError: the folder holds results of other settings or inputs; the message names what differs.
        TrainingError: another process works here.
    """
    folder = RunFolder(path)
    record = StageRecord(settings=settings, inputs=dict(inputs))
    with folder.locked():
        folder.check(record)
        folder.open(record, seed)
        with suppress(OSError):  # not empty: a training's own folder
            folder.checkpoints.rmdir()
        yield Stage(folder)
