"""The one training loop: devices, steps, validation, logging, checkpoints, and exact resume.

A method describes its training as a :class:`TrainingTask`; :func:`fit` runs it. Everything a step depends on
is either in the checkpoint (weights, optimizers, the task's extra state) or a function of the seed and the step
(the batch, each sample's augmentation, the state of the random generators), so a run that was killed and
started again gives the weights of one that was not: bit for bit on a CPU.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from nolabel.config import Config
from nolabel.engine.distributed import is_first_process
from nolabel.engine.fit_config import FitConfig, FitResult
from nolabel.engine.run_folder import RunFolder
from nolabel.engine.training_loop import TrainingLoop
from nolabel.engine.training_task import TrainingTask
from nolabel.errors import ConfigError

__all__ = ["FitConfig", "FitResult", "TrainingTask", "fit"]


def fit(
    task: TrainingTask,
    config: FitConfig,
    out: str | Path,
    *,
    settings: Config | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train, or go on where an earlier call in the same folder was stopped.

    Args:
        task: what to train.
        config: how.
        out: the run folder (:class:`~nolabel.engine.run_folder.RunFolder`).
        settings: all settings of the stage, if ``config`` is only a part of them: they are written beside the
            results, and must be the same for the run to go on.
        device: ``cuda:1``, ``cpu``, ...: where to train; ``auto`` leaves it to ``config.accelerator``.
        overwrite: start anew where a run with other settings lies.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings, or one device is named for a training on several.
        TrainingError: a loss is not finite (the last good checkpoint is kept), or the folder is in use.
        DiskFullError: a checkpoint could not be written; the one before is kept.
        KeyboardInterrupt: after Ctrl-C (or SIGTERM), once a checkpoint is written.
    """
    folder, settings = RunFolder(out), settings or config
    first = is_first_process()
    with folder.locked() if first else nullcontext():
        if first and overwrite:
            _clear_other(folder, settings)
        if first or not overwrite:
            folder.check(settings)
        finished = folder.result()
        if finished is not None and finished["step"] == config.steps:
            if progress and first:
                print(f"the run in {folder.path} is finished ({config.steps} steps)", file=sys.stderr)
            return FitResult(folder.path, config.steps, finished["metrics"], already_finished=True)
        if first:
            folder.open(settings, config.seed)
        return TrainingLoop(task, config, folder, settings, device, progress).run()


def _clear_other(folder: RunFolder, settings: Config) -> None:
    try:
        folder.check(settings)
    except ConfigError:
        folder.clear()
