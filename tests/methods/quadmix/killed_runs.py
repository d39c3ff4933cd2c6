"""Trains once in one go, and once killed (SIGKILL) again and again: run as a program, ``killed_runs.py KIND DATA OUT``.

Every training is a process of its own, forked before anything is computed, so that the imports are paid for once.
"""

import os
import signal
import sys
from pathlib import Path

KILLS = (
    ("training_step", 0),  # before anything was written
    ("after_step", 1),  # between optimizer and checkpoint
    ("training_step", 2),
    ("save", 3),  # while a checkpoint is written
    ("after_save", 3),  # after it, before the next step
    ("save", 4),  # the network is there, the last checkpoint is not
)
TEACHER = {"name": "accel_deeplab_tiny", "options": {"head_channels": 8}}


def die() -> None:
    """Kill this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def train(kind: str, data: Path, out: Path) -> None:
    """Train four steps of QuadMix."""
    import torch

    torch.set_num_threads(1)
    if kind == "images":
        from nolabel.methods.quadmix.image_training import train_images
        from tests.methods.quadmix.image_world import HRDA, settings

        config = settings(data, "quadmix", "fit.batch_size=1", network=HRDA)
        train_images(config, out, device="cpu", progress=False)
        return
    from nolabel.methods.quadmix import video_training
    from tests.methods.quadmix.video_world import SETTINGS, settings

    temporal = {**SETTINGS["temporal"], "teacher": TEACHER, "frozen_steps": 3}
    fit = {**SETTINGS["fit"], "checkpoint_every": 1, "batch_size": 1}
    # The last checkpoint is what is compared; a finished training removes it.
    video_training.shutil = type("", (), {"rmtree": staticmethod(lambda *_, **__: None)})
    video_training.train_video(
        settings(data, temporal=temporal, fit=fit, validation={}), out, device="cpu", progress=False
    )


def kill_at(kind: str, moment: str, step: int) -> None:
    """Let this process die at a moment of a training."""
    from nolabel.engine.run_folder import RunFolder
    from nolabel.methods.quadmix.image_training import ImageTraining
    from nolabel.methods.quadmix.video_training import VideoTraining

    task = ImageTraining if kind == "images" else VideoTraining
    if moment in ("training_step", "after_step"):
        whole = getattr(task, moment)

        def until(self, *arguments):
            if arguments[-1] == step:
                die()
            return whole(self, *arguments)

        setattr(task, moment, until)
        return
    save = RunFolder.save

    def cut_short(self, state, *, keep):
        if moment == "after_save" or state["step"] != step:
            save(self, state, keep=keep)
        else:
            (self.checkpoints / f".step_{step:08d}.ckpt.1.tmp").write_bytes(b"PK\x03\x04 half of it")
        if state["step"] == step:
            die()

    RunFolder.save = cut_short


def main(kind: str, data: Path, out: Path) -> None:
    """Do all trainings; every one that is to be killed must be."""
    import tests.methods.quadmix.video_world  # noqa: F401 imports are paid for once

    for moment, step in (*KILLS, (None, 0), ("whole", 0)):
        child = os.fork()
        if child == 0:
            if moment not in (None, "whole"):
                kill_at(kind, moment, step)
            train(kind, data, out / ("whole" if moment == "whole" else "killed"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if died != (moment not in (None, "whole")) or (not died and status):
            sys.exit(f"{moment} {step}: status {status}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
