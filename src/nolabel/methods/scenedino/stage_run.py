"""What both stages leave in their run folders, and how they are run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch.utils.data import Dataset

from nolabel.config import Config
from nolabel.data.posed_views import PosedSample
from nolabel.engine.fit import FitConfig, TrainingTask, fit
from nolabel.engine.fit_config import TrainedStage
from nolabel.engine.run_folder import RunFolder, StageRecord
from nolabel.engine.seeding import preserved_random_state, seed_everything, seed_of
from nolabel.engine.segmentor_file import MODEL_FILE

__all__ = ["BEST_FILE", "PICTURES", "fixed_sample", "run_stage"]

BEST_FILE = "best.safetensors"
PICTURES = "pictures"


def fixed_sample(scenes: Dataset[PosedSample], number: int) -> PosedSample:
    """Read a scene to score it: what its reader draws (moments of side cameras) is the same every time."""
    with preserved_random_state():
        seed_everything(seed_of("look", number))
        return scenes[number]


def run_stage(
    task: TrainingTask,
    loop: FitConfig,
    out: Path,
    settings: Config,
    inputs: Mapping[str, str],
    *,
    device: str,
    overwrite: bool,
    progress: bool,
) -> TrainedStage:
    """Run a stage's task, and tidy up what only a stopped run needs.

    Args:
        task: it writes the model itself, at the last validation.
        loop: settings of the training loop.
        out: run folder.
        settings: all settings of the stage.
        inputs: hashes of what it starts from, by name.
        device: see :func:`nolabel.engine.fit.fit`.
        overwrite: likewise.
        progress: likewise.
    """
    record = StageRecord(settings=settings, inputs=dict(inputs))
    result = fit(task, loop, out, settings=record, device=device, overwrite=overwrite, progress=progress)
    shutil.rmtree(RunFolder(out).checkpoints, ignore_errors=True)
    (out / BEST_FILE).unlink(missing_ok=True)
    return TrainedStage(out / MODEL_FILE, result.metrics, already_finished=result.already_finished)
