import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.fit_tasks import Line
from nolabel.config import Config
from nolabel.engine.batches import StepSampler
from nolabel.engine.fit import FitConfig, fit
from nolabel.engine.run_folder import RunFolder
from nolabel.errors import ConfigError, DataError, DependencyError, NolabelError, TrainingError
from nolabel.structures import files

BASE = {"steps": 12, "batch_size": 4, "accelerator": "cpu", "checkpoint_every": 3, "log_every": 2}


def config(**values) -> FitConfig:
    return FitConfig(**{**BASE, **values})


def state(out: Path) -> dict:
    loaded = RunFolder(out).load()
    assert loaded is not None
    return loaded


def same(one, two) -> bool:
    """Compare nested state bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    fit(Line(), config(), out, progress=False)
    return out


class Stop(Line):
    """Stops like a killed process: in the middle of a step, without a word."""

    def __init__(self, at: int, **values) -> None:
        super().__init__(**values)
        self.at = at

    def after_step(self, step):
        if step == self.at:
            raise RuntimeError("killed")
        super().after_step(step)


@pytest.mark.parametrize("at", [1, 3, 10])
@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_weights_are_bit_identical(tmp_path, whole, at, workers):
    with pytest.raises(RuntimeError, match="killed"):
        fit(Stop(at), config(), tmp_path, progress=False)
    torch.rand(7)  # whatever else happened in the process
    result = fit(Line(), config(workers=workers), tmp_path, progress=False)
    assert result.resumed_from == (at // 3 * 3 or None)
    assert same(state(tmp_path), state(whole))
    logged = [line["step"] for line in RunFolder(tmp_path).read_log()]
    assert logged == [line["step"] for line in RunFolder(whole).read_log()]


def test_a_finished_run_says_so(whole, capsys):
    before = state(whole)
    result = fit(Line(), config(), whole)
    assert (
        result.already_finished
        and result.metrics.keys() == {"error"}
        and "finished" in capsys.readouterr().err
    )
    assert same(before, state(whole))


def test_training_learns(tmp_path):
    fit(
        Line(dropout=0.0, noise=1.0),
        config(steps=80, batch_size=16, validate_every=1),
        tmp_path,
        progress=False,
    )
    errors = [
        line["validation/error"] for line in RunFolder(tmp_path).read_log() if "validation/error" in line
    ]
    assert len(errors) == 80 and errors[-1] < 0.5 * errors[0]


def test_a_run_folder_holds_what_was_asked_and_what_came_of_it(whole):
    folder = RunFolder(whole)
    assert [line["step"] for line in folder.read_log() if "train/loss" in line] == [2, 4, 6, 8, 10, 12]
    run = json.loads((whole / "run.json").read_text())
    assert run["seed"] == 0 and run["versions"]["torch"] and "git" in run
    assert "steps: 12" in (whole / "config.yaml").read_text()
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == ["last.ckpt", "step_00000009.ckpt", "step_00000012.ckpt"]
    last = torch.load(folder.checkpoints / "last.ckpt", weights_only=True)
    assert last["step"] == 12 and folder.networks().keys() == {"student", "teacher"}


class Outer(Config):
    fit: FitConfig
    other: int = 1


def test_other_settings_are_refused_by_name(tmp_path):
    first = config(steps=2)
    fit(Line(), first, tmp_path, settings=Outer(fit=first), progress=False)
    changed = config(steps=2, batch_size=5)
    with pytest.raises(ConfigError, match=r"fit\.batch_size was 4, now 5.*\n.*--overwrite"):
        fit(Line(), changed, tmp_path, settings=Outer(fit=changed), progress=False)
    (tmp_path / "mine.txt").touch()
    result = fit(Line(), changed, tmp_path, settings=Outer(fit=changed), overwrite=True, progress=False)
    assert result.resumed_from is None and not result.already_finished and (tmp_path / "mine.txt").exists()
    harmless = config(steps=2, batch_size=5, log_every=1, workers=1)
    assert fit(Line(), harmless, tmp_path, settings=Outer(fit=harmless), progress=False).already_finished


def test_a_loss_that_is_not_finite_stops_and_keeps_the_good_checkpoint(tmp_path):
    with pytest.raises(
        TrainingError, match=r"step 8: loss nan, line .*checkpoint of step 6 is kept"
    ) as caught:
        fit(Line(explode=7), config(), tmp_path, progress=False)
    assert "learning rate" in caught.value.hint
    kept = state(tmp_path)
    assert kept["step"] == 6
    assert all(torch.isfinite(value).all() for value in kept["networks"]["student"].values())


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    real, calls = torch.save, []

    def save(value, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(value, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(files.DiskFullError, match="step_00000006"):
        fit(Line(), config(), tmp_path, progress=False)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt", "step_00000003.ckpt"]
    assert state(tmp_path)["step"] == 3


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, capsys):
    with pytest.raises(RuntimeError):
        fit(Stop(10), config(), tmp_path, progress=False)
    newest = tmp_path / "checkpoints" / "step_00000009.ckpt"
    newest.write_bytes(newest.read_bytes()[:500])
    assert fit(Line(), config(), tmp_path, progress=False).resumed_from == 6
    assert "step_00000009.ckpt is damaged" in capsys.readouterr().err
    assert same(state(tmp_path), state(whole))


def test_accumulation_equals_a_larger_batch(tmp_path):
    quiet = {"dropout": 0.0, "noise": 0.1}
    fit(Line(**quiet), config(batch_size=8), tmp_path / "a", progress=False)
    fit(Line(**quiet), config(batch_size=4, accumulate=2), tmp_path / "b", progress=False)
    fit(Line(**quiet, two_passes=True), config(batch_size=4, accumulate=2), tmp_path / "c", progress=False)
    one = RunFolder(tmp_path / "a").networks()["student"]
    for other in ("b", "c"):
        torch.testing.assert_close(
            RunFolder(tmp_path / other).networks()["student"], one, atol=1e-6, rtol=1e-5
        )


def test_clipping_bounds_the_step(tmp_path):
    task = Line(dropout=0.0)
    task.optimizers = lambda networks: {"all": torch.optim.SGD(networks["student"].parameters(), lr=1.0)}
    task.before_step = lambda step: None
    torch.manual_seed(0)
    fit(task, config(steps=1, clip_norm=1e-3), tmp_path, progress=False)
    from nolabel.engine.seeding import seed_everything

    seed_everything(0)
    start = Line(dropout=0.0).networks()["student"].state_dict()
    end = RunFolder(tmp_path).networks()["student"]
    moved = torch.sqrt(sum((end[name] - start[name]).square().sum() for name in start))
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)


def test_every_epoch_sees_every_sample_once(tmp_path):
    task = Line()
    fit(task, config(steps=23), tmp_path, progress=False)
    epochs = [task.seen[i : i + 23] for i in range(0, 92, 23)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs) and epochs[0] != epochs[1]


def test_two_processes_share_one_larger_batch():
    one = list(StepSampler(6, 2, 5))
    two = [list(StepSampler(3, 2, 5, rank=rank, processes=2)) for rank in (0, 1)]
    assert one == [a + b for a, b in zip(*two, strict=True)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_sample_keeps_its_own_error(tmp_path, workers):
    with pytest.raises(DataError) as caught:
        fit(Line(corrupt=5), config(workers=workers), tmp_path, progress=False)
    assert caught.value.message == "sample 5 is corrupt" and caught.value.hint == "fetch it again"


def test_a_folder_in_use_is_refused(tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(TrainingError, match="another process"):
        fit(Line(), config(), tmp_path, progress=False)


def test_a_missing_logger_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DependencyError, match=r"pip install 'nolabel\[wandb\]'"):
        fit(Line(), config(loggers=("wandb",)), tmp_path, progress=False)


@dataclass(frozen=True)
class Pose:
    """What a training may give its network besides pictures."""

    where: torch.Tensor


class Posed(nn.Module):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x, pose):
        self.given = (x.dtype, pose.where.dtype)
        self.product = self.layer(x).dtype
        return self.layer(x).float()


class PosedLine(Line):
    def networks(self):
        return {"student": Posed()}

    def optimizers(self, networks):
        return {"student": torch.optim.SGD(networks["student"].parameters(), lr=1e-3)}

    def before_step(self, step):
        pass

    def after_step(self, step):
        pass

    def training_step(self, batch, step):
        guess = self.modules["student"](batch["x"], Pose(batch["x"]))
        return {"loss": (guess - batch["y"]).square().mean()}

    def validation(self):
        return {}

    def state_dict(self):
        return {}


def test_mixed_precision_rounds_products_and_not_what_networks_are_given(tmp_path):
    task = PosedLine()
    fit(task, config(steps=1, precision="bf16-mixed"), tmp_path / "run", progress=False)
    network = task.modules["student"].module
    assert network.given == (torch.float32, torch.float32) and network.product == torch.bfloat16


def test_impossible_settings_are_refused():
    from nolabel.config import load_config

    with pytest.raises(NolabelError, match="steps cannot be 0"):
        load_config(FitConfig, steps=0)


# --- whole processes --------------------------------------------------------------------------------------


def start(out: Path, options: dict, task: dict) -> subprocess.Popen:
    script = Path(__file__).with_name("fit_tasks.py")
    source = Path(__file__).parents[2] / "src"
    return subprocess.Popen(
        [sys.executable, str(script), str(out), json.dumps(options), json.dumps(task)],
        env={**os.environ, "PYTHONPATH": f"{source}:{script.parents[1]}", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(out: Path, count: int) -> None:
    for _ in range(1200):
        found = sorted((out / "checkpoints").glob("step_*.ckpt"))
        if found and int(found[-1].stem[5:]) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written")


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_is_bit_identical(tmp_path):
    options = {**BASE, "steps": 60, "checkpoint_every": 1}
    for count in (3, 17):
        process = start(tmp_path / "killed", options, {"wait": 0.02})
        wait_for(tmp_path / "killed", count)
        process.kill()
        process.communicate()
    stopped = state(tmp_path / "killed")["step"]
    assert 17 <= stopped < 60
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert fit(Line(), FitConfig(**options), tmp_path / "killed", progress=False).resumed_from == stopped
        fit(Line(), FitConfig(**options), tmp_path / "whole", progress=False)
    finally:
        torch.set_num_threads(threads)
    assert same(state(tmp_path / "killed"), state(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_checkpoint_and_says_how_to_go_on(tmp_path, number):
    process = start(tmp_path, {**BASE, "steps": 500, "checkpoint_every": 2}, {"wait": 0.02})
    wait_for(tmp_path, 2)
    process.send_signal(number)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert f"stopped after step {state(tmp_path)['step']} of 500" in shown and "same command again" in shown


@pytest.mark.slow
def test_two_processes_equal_one_with_doubled_batch(tmp_path):
    quiet = {"dropout": 0.0, "noise": 0.1}
    process = start(tmp_path / "two", {**BASE, "devices": 2, "accumulate": 2}, quiet)
    _, shown = process.communicate(timeout=200)
    assert process.returncode == 0, shown
    fit(Line(**quiet), config(batch_size=8, accumulate=2), tmp_path / "one", progress=False)
    two, one = state(tmp_path / "two"), state(tmp_path / "one")
    torch.testing.assert_close(two["networks"]["student"], one["networks"]["student"], atol=1e-6, rtol=1e-5)
    assert len(two["task"]) == 2 and two["metrics"] == pytest.approx(one["metrics"], abs=1e-5)


def test_a_run_says_first_what_it_will_do_and_soon_how_long_it_will_take(tmp_path, capsys):
    fit(Line(), config(accumulate=2), tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    parameters = sum(p.numel() for p in Line().networks()["student"].parameters())
    assert lines[0].startswith("12 steps of 8 of 23 samples (4.17 times each)")
    assert f"{parameters / 1e6:.1f} million parameters, on cpu" in lines[0]
    assert sum("s a step: about" in line for line in lines) == 1
