"""Both trainings: what they leave, killed and resumed, the schedule as executed, evaluation, commands."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.unmore.network_runs import run
from methods.unmore.object_scenes import write_scenes
from nolabel.engine.fit import TrainingTask
from nolabel.errors import ConfigError
from nolabel.methods.unmore import network_training
from nolabel.methods.unmore.existence_training import score_existence
from nolabel.methods.unmore.fields_picture import boundary_colours, centre_colours, draw_fields
from nolabel.methods.unmore.network_files import load_existence, load_objectness
from nolabel.methods.unmore.network_training import NetworkTraining, stepped_factor
from nolabel.methods.unmore.training_settings import RateConfig
from nolabel.models.objectness import ObjectnessMaps
from nolabel.weights import load_checkpoint

TESTS = Path(__file__).resolve().parents[2]
KINDS = ["objectness", "existence"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root)
    return root


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory) -> dict:
    """Trainings that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    return {kind: run(kind, scenes, root / kind) for kind in KINDS}


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(model).state_dict


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_training_leaves(kind, whole) -> None:
    trained = whole[kind]
    assert not (trained.model.parent / "checkpoints").exists() and not trained.already_finished
    crops = torch.rand(2, 3, 32, 32)
    if kind == "objectness":
        assert trained.metrics.keys() == {"boundary_error", "mask_iou", "centre_degrees"}
        assert trained.picture.name == "step_00000006.png"
        assert load_objectness(trained.model.parent)(crops).boundary.shape == (2, 32, 32)
    else:
        assert 0 <= trained.metrics["accuracy"] <= 1
        assert load_existence(trained.model.parent)(crops).shape == (2,)


@pytest.mark.parametrize("kind", KINDS)
def test_again_is_already_finished_and_other_objects_are_refused(kind, scenes, whole) -> None:
    out = whole[kind].model.parent
    assert run(kind, scenes, out).already_finished
    with pytest.raises(ConfigError, match="other settings"):
        run(kind, scenes, out, ["objects.use=all"])


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_and_resumed_is_the_same(kind, scenes, whole, tmp_path, monkeypatch) -> None:
    after = NetworkTraining.after_step

    def stopped(self, step):
        after(self, step)
        if step == 2:
            raise RuntimeError("power cut")

    monkeypatch.setattr(network_training.NetworkTraining, "after_step", stopped)
    with pytest.raises(RuntimeError, match="power cut"):
        run(kind, scenes, tmp_path / "run")
    monkeypatch.setattr(network_training.NetworkTraining, "after_step", after)
    resumed = run(kind, scenes, tmp_path / "run")
    expected, found = tensors(whole[kind].model), tensors(resumed.model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.metrics == whole[kind].metrics


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_the_same(kind, scenes, whole, tmp_path) -> None:
    script = Path(__file__).with_name("network_runs.py")
    command = [sys.executable, str(script), kind, str(scenes), str(tmp_path / "run")]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen([*command, "1.5"], env=environment)
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000002.ckpt"
    deadline = time.monotonic() + 500
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (tmp_path / "run" / "model.safetensors").exists()
    subprocess.run([*command, "0"], env=environment, check=True, timeout=500)
    expected, found = tensors(whole[kind].model), tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_rates_fall_at_the_milestones() -> None:
    assert [stepped_factor(step, (2, 4), 0.1) for step in range(6)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_the_schedule_as_executed_begins_again() -> None:
    """As torch's MultiStepLR on an optimizer whose rate was restored."""

    class Bare(NetworkTraining):
        def __init__(self, compat):
            TrainingTask.__init__(self)
            self.rate_config = RateConfig(milestones=(2, 4), gamma=0.1, reference_compat=compat)
            self.begun, self.first_factor, self.done = 0, 1.0, 0

    for compat in (False, True):
        first = Bare(compat)
        first.done = 3
        second = Bare(compat)
        second.load_state_dict(first.state_dict())
        found = [second.factor(step) for step in range(3, 8)]
        # As executed: two steps after it went on, then four.
        expected = [0.1, 0.1, 0.01, 0.01, 0.001] if compat else [0.1, 0.01, 0.01, 0.01, 0.01]
        assert found == pytest.approx(expected)


def test_crops_that_teach_nothing_cost_nothing(scenes, tmp_path) -> None:
    """Every crop lies inside its object: no step may change a weight by a gradient, and nothing breaks."""
    whole_image = ["objects.window=1.01", "targets.scale=[0.001, 0.002]", "fit.steps=2", "look.samples=2"]
    trained = run("objectness", scenes, tmp_path / "run", whole_image)
    assert trained.model.is_file()


def test_accuracy() -> None:
    class Bright(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, crops):
            return crops.mean((1, 2, 3))

    samples = [(torch.full((3, 4, 4), value), torch.tensor(label)) for value, label in
               ((0.9, 1.0), (0.8, 0.0), (0.1, 0.0), (0.2, 0.0))]  # fmt: skip
    scores = score_existence(Bright(), samples)
    assert scores["accuracy"] == 0.75 and scores["objects"] == 0.25


def test_pictures_tell_inside_from_outside_and_directions() -> None:
    field = torch.linspace(-1, 1, 32).expand(32, 32)
    colours = boundary_colours(field)
    assert colours[0, 0, 2] > colours[0, 0, 0] and colours[0, -1, 0] > colours[0, -1, 2]
    right, down = torch.zeros(2, 32, 32), torch.zeros(2, 32, 32)
    right[1], down[0] = 1, 1
    assert (centre_colours(right) != centre_colours(down)).any()
    maps = ObjectnessMaps(field[None], down[None])
    sheet = draw_fields(torch.rand(1, 3, 32, 32), maps)
    assert sheet.dtype == np.uint8 and sheet.shape[1] > 5 * 64


def test_commands(scenes, whole, tmp_path, capsys) -> None:
    from nolabel.cli.unmore_networks import train_existence, train_objectness

    images, labels = scenes / "images", scenes / "labels.json"
    common = ["look.samples=4", "look.held_out=0.25"]
    fields = [*common, "targets.size=64", "targets.canvas=40", "look.pictures=2"]
    network = str(whole["objectness"].model.parent)
    train_objectness(images, labels, tmp_path, fields, evaluate=network, device="cpu")
    assert (tmp_path / "fields.png").is_file() and "mask_iou" in capsys.readouterr().out
    network = str(whole["existence"].model.parent)
    train_existence(images, labels, tmp_path, [*common, "size=32"], evaluate=network, device="cpu")
    assert (tmp_path / "eval_log.json").is_file() and "accuracy" in capsys.readouterr().out
