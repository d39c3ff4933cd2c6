"""Training of motion: what it leaves, interrupted and resumed bit by bit, what it refuses and says."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nolabel.engine.motion_estimators import open_estimator
from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.methods.pretraining import motion_training
from nolabel.methods.pretraining.motion_data import collate_motion, open_footage
from nolabel.methods.pretraining.motion_files import save_motion, start_motion
from nolabel.methods.pretraining.motion_guide import classical_flow
from nolabel.methods.pretraining.motion_settings import MotionTrainingConfig
from nolabel.methods.pretraining.motion_training import motion_outlook, train_motion
from nolabel.models.motion.raft import small_network
from nolabel.structures.files import encode_png
from nolabel.weights import packaged

SETTINGS = {
    "fit": {"steps": 4, "batch_size": 1, "checkpoint_every": 1, "log_every": 1, "clip_norm": 1.0},
    "network": {"architecture": "raft_small", "updates": 2},
    "data": {"region": [136, 168]},
    "loss": {"census": 3, "smoothness_stride": 4},
    "stages": [
        {"share": 1, "crop": [128, 128], "updates": 1, "pictures": 2, "photometric": 0.0},
        {"share": 1, "crop": [128, 128], "updates": 2, "photometric": 0.0, "guide": 1.0, "occlusions": False},
        {"share": 2, "crop": [128, 128], "updates": 2, "pictures": 1, "self_supervision": 0.1},
    ],
    "look": {"samples": 1, "pictures": 1},
}


def texture(seed, height, width):
    noise = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)[0]


@pytest.fixture(scope="module")
def footage_folder(tmp_path_factory):
    """Stereo video of a plane: 2 pixels of disparity, 3 of motion to the right."""
    root = tmp_path_factory.mktemp("footage")
    wide = texture(0, 136, 200)
    for frame in range(3):
        for side, shift in (("left", 0), ("right", 2)):
            start = 16 - 3 * frame + shift
            picture = (wide[:, :, start : start + 168] * 255).round().byte().permute(1, 2, 0)
            path = root / side / f"{frame:03d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode_png(picture.numpy()))
    return root


def train(folder, out, **changes):
    config = MotionTrainingConfig(**{**SETTINGS, **changes})
    footage = open_footage([folder], region=config.data.region)
    return train_motion(config, footage, out, looked_at=[folder], device="cpu", progress=False)


@pytest.fixture(scope="module")
def trained(footage_folder, tmp_path_factory):
    return train(footage_folder, tmp_path_factory.mktemp("motion") / "run")


def test_training_leaves_a_network_that_opens(trained, footage_folder) -> None:
    estimator = open_estimator("learnt", weights=trained.model.parent)
    assert estimator.updates == 2
    assert estimator.flow(texture(1, 128, 136)[None], texture(2, 128, 136)[None]).shape == (1, 2, 128, 136)
    assert {"colour", "census", "census_stereo", "occluded"} <= set(trained.metrics)
    assert list(trained.model.parent.glob("pictures/step_*4.png"))
    lines = [json.loads(line) for line in (trained.model.parent / "log.jsonl").read_text().splitlines()]
    named = [{key for key in line if key.startswith("train/")} for line in lines if "train/loss" in line]
    assert "train/synthesis" in named[0] and "train/photometric" not in named[0]
    assert "train/guide" in named[1] and not {"train/photometric", "train/occluded"} & named[1]
    assert {"train/photometric", "train/self_supervision", "train/occluded", "train/upright"} <= named[2]


@pytest.mark.parametrize("done", [1, 3])
def test_training_goes_on_exactly(trained, footage_folder, tmp_path, monkeypatch, done) -> None:
    after = motion_training.MotionTraining.after_step

    def stopping(self, step):
        after(self, step)
        if step + 1 == done + 1:  # the checkpoint of the step before is the newest
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(motion_training.MotionTraining, "after_step", stopping)
        train(footage_folder, tmp_path / "run")
    resumed = train(footage_folder, tmp_path / "run")
    one, other = load_file(trained.model), load_file(resumed.model)
    assert all(torch.equal(one[name], other[name]) for name in one) and resumed.metrics == trained.metrics
    start = start_motion("raft_small", None).state_dict()
    assert any(not torch.equal(one[name], start[name]) for name in one)


@pytest.mark.parametrize("mirrored", [False, True])
def test_classical_matching_knows_every_pair(footage_folder, mirrored) -> None:
    batch = collate_motion([open_footage([footage_folder], region=(136, 168))[0]])
    if mirrored:
        batch = replace(batch, images=batch.images.flip(-1), sideways=-batch.sideways)
    flow = classical_flow(batch)[:, :, 32:-32, 48:-48]
    over_time, between_views = (3.0, -3.0) * 2, (-2.0, 2.0) * 2
    way = -1 if mirrored else 1
    assert torch.allclose(
        flow[:, 0].flatten(1).median(1).values, way * torch.tensor(over_time + between_views), atol=0.1
    )
    assert flow[:, 1].abs().median() < 0.1


def test_other_settings_are_refused(trained, footage_folder) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        train(footage_folder, trained.model.parent, rate={"learning_rate": 1e-3})


def test_training_goes_on_from_a_network(trained, footage_folder, tmp_path) -> None:
    changes = {"network": {"architecture": "raft_small", "initial": trained.model.parent, "updates": 2}}
    short = {**SETTINGS["fit"], "steps": 1}
    train(footage_folder, tmp_path / "run", fit=short, rate={"learning_rate": 1e-9}, **changes)
    before, after = load_file(trained.model), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-6) for name in before)
    with pytest.raises(WeightsError, match="layout 'raft_small'"):
        start_motion("raft_large", trained.model.parent)


def test_halves_compute_in_float32(tmp_path) -> None:
    network = small_network()
    save_motion(network, tmp_path / "m.safetensors", "raft_small", 4, half=True)
    assert (tmp_path / "m.safetensors").stat().st_size < 3e6
    opened = open_estimator("learnt", weights=tmp_path / "m.safetensors")
    assert opened.updates == 4 and next(opened.network.parameters()).dtype == torch.float32


def test_embedded_says_what_is_missing(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(packaged, "_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="no weights for motion"):
        open_estimator("embedded")
    save_motion(small_network(), tmp_path / "motion.safetensors", "raft_small", 3, half=True)
    assert open_estimator("embedded").updates == 3
    with pytest.raises(ConfigError, match="brings its weights"):
        open_estimator("embedded", weights=tmp_path)


def test_footage_of_one_camera(footage_folder, tmp_path) -> None:
    single = open_footage([footage_folder / "left"], region=(136, 168))
    both = open_footage([footage_folder, footage_folder / "left"], region=(136, 168))
    assert (len(single), single.stereo, len(both), both.stereo) == (2, 0, 4, 2)
    assert single[0].images.shape == (2, 3, 136, 168) and both[0].images.shape == (4, 3, 136, 168)
    lines = " ".join(motion_outlook(single, MotionTrainingConfig(**SETTINGS)))
    assert "little footage" in lines and "no stereo views" in lines
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "0.png").write_bytes((footage_folder / "left" / "000.png").read_bytes())
    with pytest.raises(DataError, match="no two consecutive frames"):
        open_footage([tmp_path / "one"])


def test_impossible_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="larger than its scaled region"):
        MotionTrainingConfig(**{**SETTINGS, "data": {"region": [128, 120]}})
    with pytest.raises(ValueError, match="multiples of 8"):
        MotionTrainingConfig(**{**SETTINGS, "stages": [{"crop": [128, 130]}]})
