"""``nolabel.load("quadmix", FILE)`` and ``nolabel convert`` on every official layout, and on files that are none."""

import os

import pytest
import torch
from typer.testing import CliRunner

import nolabel
from nolabel.api import SegmentationPipeline, VideoPipeline
from nolabel.cli import app
from nolabel.errors import ConfigError, WeightsError
from nolabel.models.segmentation import build_segmentor
from nolabel.models.video_segmentation import build_video_segmentor
from nolabel.weights.layouts import accel_daformer, accel_deeplab, mmseg

IMAGES = {
    "hrda_mit_b5": 1126,
    "hrda_resnet101": 644,
    "daformer_mit_b5": None,
    "deeplab_v2_resnet101": None,
    "hrda_mit_b0": None,
    "daformer_mit_b0": None,
}
VIDEO = {
    "accel_deeplab": (accel_deeplab, 642),
    "accel_deeplab_tps": (accel_deeplab, 641),
    "accel_daformer": (accel_daformer, 1111),
}
LARGE = {"hrda_mit_b5", "hrda_resnet101", "daformer_mit_b5", "deeplab_v2_resnet101", "accel_daformer"}


def cases(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in names]


def constant(shapes, value):
    """Tensors of these shapes whose file is small: one number each."""
    return {name: torch.tensor(value, dtype=part.dtype).expand(part.shape) for name, part in shapes.items()}


def image_layout(name):
    with torch.device("meta"):
        return mmseg.from_network(build_segmentor(name, 19).state_dict())


def video_layout(name, classes):
    layout, _ = VIDEO[name]
    with torch.device("meta"):
        return layout.from_network(build_video_segmentor(name, classes).state_dict())


def training_file(name, path):
    """What mmcv writes: student, teacher and frozen copy with their prefixes, optimizer and meta."""
    shapes, state = image_layout(name), {}
    for prefix, value in (
        ("model.", 0),
        ("ema_model.", 1),
        ("imnet_model.", 2),
        ("mic.teacher.ema_model.", 3),
    ):
        state |= {prefix + key: part for key, part in constant(shapes, value).items()}
    torch.save(
        {"meta": {"iter": 7}, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}, path
    )
    return path


def all_are(network, value):
    return all(bool((part == value).all()) for part in network.state_dict().values())


@pytest.mark.parametrize("name", cases(IMAGES))
def test_image_files_load_strictly(name, tmp_path):
    count = IMAGES[name]
    assert count is None or len(image_layout(name)) == count
    file = training_file(name, tmp_path / "iter_7.pth")
    for part, value in (("student", 0), ("teacher", 1)):
        model = nolabel.load("quadmix", file, part=part, device="cpu")
        assert isinstance(model, SegmentationPipeline) and model.model.architecture == name
        assert all_are(model.model.network, value)
    published = {f"model.{key}": part for key, part in constant(image_layout(name), 4).items()}
    torch.save({"state_dict": published}, tmp_path / "published.pth")
    assert all_are(nolabel.load("quadmix", tmp_path / "published.pth", device="cpu").model.network, 4)


@pytest.mark.parametrize("name", cases(VIDEO))
def test_video_files_load_strictly(name, tmp_path):
    for classes, space in ((15, "viper_15"), (12, "synthia_seq_12")):
        shapes = video_layout(name, classes)
        assert len(shapes) == VIDEO[name][1]
        torch.save(constant(shapes, 0), tmp_path / "model.pth")
        model = nolabel.load("quadmix", tmp_path / "model.pth", device="cpu", estimator="opencv")
        assert isinstance(model, VideoPipeline)
        assert (model.space.name, model.model.architecture) == (space, name)
        assert all_are(model.model.network, 0)


def test_a_network_for_video_labels_frames(tmp_path):
    torch.save(constant(video_layout("accel_deeplab", 15), 0), tmp_path / "model.pth")
    model = nolabel.load("quadmix", tmp_path / "model.pth", device="cpu", estimator="opencv")
    frames = [torch.rand(3, 24, 48) for _ in range(2)]
    assert model(frames[0], max_side=64).size == (24, 48)
    assert [one.size for one in model(frames, max_side=64)] == [(24, 48)] * 2
    with pytest.raises(ConfigError, match="no teacher"):
        nolabel.load("quadmix", tmp_path / "model.pth", device="cpu", part="teacher")
    refused = CliRunner().invoke(
        app,
        ["quadmix", "predict", str(tmp_path / "model.pth"), str(tmp_path), "--out", str(tmp_path / "out")],
    )
    assert refused.exit_code != 0 and "quadmix video" in str(refused.exception)


def test_converted_files_load_like_official_ones(tmp_path):
    whole = training_file("daformer_mit_b0", tmp_path / "iter_7.pth")
    for part, value in ((None, 0), ("student", 0), ("teacher", 1)):
        target = tmp_path / f"{part}.safetensors"
        options = [] if part is None else ["--part", part]
        done = CliRunner().invoke(app, ["convert", str(whole), str(target), *options])
        assert done.exit_code == 0, done.output
        assert all_are(nolabel.load("quadmix", target, device="cpu").model.network, value)
    torch.save(constant(video_layout("accel_deeplab", 12), 5), tmp_path / "video.pth")
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "video.pth"), str(tmp_path / "v.safetensors")])
    assert done.exit_code == 0, done.output
    assert all_are(nolabel.load("quadmix", tmp_path / "v.safetensors", device="cpu").model.network, 5)


def test_the_network_may_look_otherwise(tmp_path):
    file = training_file("hrda_mit_b0", tmp_path / "iter_7.pth")
    model = nolabel.load("quadmix", file, device="cpu", options={"fixed_attention": 0.0, "window": 0}).model
    assert model.network.scale_attention is None and model.network.config.window is None


def damaged(shapes):
    missing = dict(list(constant(shapes, 0).items())[:-1])
    last = list(shapes)[-1]
    return {
        "missing": missing,
        "unexpected": constant(shapes, 0) | {"backbone.extra.weight": torch.zeros(1)},
        "another shape": missing | {last: torch.zeros(3, 2)},
    }


@pytest.mark.parametrize("how", ["missing", "unexpected", "another shape"])
def test_files_that_do_not_fit_say_what_is_wrong(how, tmp_path):
    torch.save({"state_dict": damaged(image_layout("daformer_mit_b0"))[how]}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=f"1 .*{how}"):
        nolabel.load("quadmix", tmp_path / "x.pth", device="cpu")


def test_files_that_are_cut_short_say_so(tmp_path):
    content = training_file("daformer_mit_b0", tmp_path / "whole.pth").read_bytes()
    for share in (0.0, 0.001, 0.3, 0.9, 0.999):
        (tmp_path / "cut.pth").write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            nolabel.load("quadmix", tmp_path / "cut.pth", device="cpu")


class Call:
    def __reduce__(self):
        return os.system, ("true",)


def test_files_that_carry_code_are_refused(tmp_path):
    torch.save(
        {"state_dict": constant(image_layout("daformer_mit_b0"), 0), "meta": Call()}, tmp_path / "x.pth"
    )
    with pytest.raises(WeightsError, match="carries code"):
        nolabel.load("quadmix", tmp_path / "x.pth", device="cpu")


def test_other_files_are_named(tmp_path):
    torch.save({"state_dict": {"model.a": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth"):
        nolabel.load("quadmix", tmp_path / "x.pth", device="cpu")
