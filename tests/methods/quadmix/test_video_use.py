"""Networks for video on disk: loading, scoring and labelling with them, and the commands."""

import json

import pytest
import torch
from typer.testing import CliRunner

from nolabel.cli import app
from nolabel.data.files import read_image
from nolabel.engine.predicting import PredictionOptions
from nolabel.errors import WeightsError
from nolabel.labels import LABEL_SPACES
from nolabel.methods.quadmix.settings import NetworkConfig
from nolabel.methods.quadmix.video_model import (
    VideoModel,
    build_video_network,
    load_video_model,
    save_video_model,
)
from nolabel.methods.quadmix.video_predict import VideoPredictor
from nolabel.models.motion import OpenCVMotion
from nolabel.models.video_segmentation import build_video_segmentor
from nolabel.weights.layouts import accel_deeplab
from tests.methods.quadmix.video_world import write_videos

SPACE = LABEL_SPACES["viper_15"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    name = "accel_deeplab_tiny"
    model = VideoModel(build_video_segmentor(name, SPACE.num_classes), name, SPACE, size=(32, 64))
    return save_video_model(model, tmp_path_factory.mktemp("model") / "model.safetensors", steps=7)


def test_a_file_gives_the_network_back(model_file):
    model = load_video_model(model_file.parent)
    assert (model.architecture, model.size, model.space) == ("accel_deeplab_tiny", (32, 64), SPACE)
    assert model.facts["steps"] == 7
    assert not model.network.training


def test_a_student_takes_all_but_the_main_head_from_its_teacher(tmp_path):
    options = {"head_channels": None}
    teacher = build_video_segmentor("accel_deeplab_tiny", 3, **options)
    file = tmp_path / "tps.pth"
    torch.save(accel_deeplab.from_network(teacher.state_dict()), file)
    student = build_video_network(NetworkConfig(name="accel_deeplab_tiny", weights=str(file)), 3)
    assert torch.equal(student.backbone.stem.conv1.weight, teacher.backbone.stem.conv1.weight)
    whole = build_video_network(
        NetworkConfig(name="accel_deeplab_tiny", options=options, weights=str(file)), 3
    )
    assert torch.equal(whole.main.branches[0].weight, teacher.main.branches[0].weight)


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no two-frame network"):
        load_video_model(tmp_path / "other.pth")


def test_a_video_is_labelled_as_its_pairs_are(model_file, videos):
    model, motion = load_video_model(model_file), OpenCVMotion()
    files = sorted((videos / "target" / "leftImg8bit_sequence").rglob("*.png"))[:2]
    older, newer = (read_image(file).as_subclass(torch.Tensor) for file in files)
    predictor = VideoPredictor(model, motion)
    _, found = predictor([older, newer], PredictionOptions())
    with torch.no_grad():
        scores = model.network(newer[None], older[None], motion.flow(newer[None], older[None])).main
    enlarged = torch.nn.functional.interpolate(scores, (32, 64), mode="bilinear", align_corners=True)
    assert torch.equal(found.labels.long(), enlarged.argmax(1)[0])
    predictor.restart()
    (alone,) = predictor([newer], PredictionOptions())
    again = VideoPredictor(model, motion)([newer], PredictionOptions())[0]
    assert torch.equal(alone.labels, again.labels)


def test_commands(model_file, videos, tmp_path):
    run = CliRunner().invoke
    city = videos / "target"
    evaluate = ["quadmix", "video", "evaluate", str(model_file), "--data", str(city), "--split", "train"]
    done = run(
        app, [*evaluate, "--estimator", "opencv", "--out", str(tmp_path / "scores"), "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert "temporal consistency" in done.output
    result = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert 0 <= result["temporal_consistency"] <= 1
    frames = next((city / "leftImg8bit_sequence" / "train").iterdir())
    predict = ["quadmix", "video", "predict", str(model_file), str(frames), "--out", str(tmp_path / "labels")]
    done = run(app, [*predict, "--save", "labels", "--estimator", "opencv", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "labels").glob("*_semantic.png"))) == 9
