"""Official DAFormer, HRDA and DeepLab-V2 files: found out, both ways through the name map, and clear errors."""

import pytest
import torch

from nolabel.engine.segmentation_networks import build_network, load_backbone, load_network_state
from nolabel.engine.segmentor_file import load_model
from nolabel.errors import WeightsError
from nolabel.models.segmentation import build_segmentor
from nolabel.weights.layouts import mmseg

SMALL_HRDA = {"width": 8}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_segmentor("hrda_mit_b0", 19, detail_size=64, **SMALL_HRDA)


def official_file(network, folder):
    student = mmseg.from_network(network.state_dict())
    state = {f"model.{name}": value for name, value in student.items()}
    state |= {f"ema_model.{name}": value + 1 for name, value in student.items()}
    state |= {f"imnet_model.{name}": value + 2 for name, value in student.items()}
    torch.save({"state_dict": state, "meta": {"iter": 7}}, folder / "iter_7.pth")
    return folder / "iter_7.pth"


def equal(first, second, shift=0):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name] + shift, second[name]) for name in first)


def test_student_and_teacher_of_a_training_checkpoint(network, tmp_path):
    file = official_file(network, tmp_path)
    loaded = load_model(file)
    assert (loaded.architecture, loaded.network.num_logits) == ("hrda_mit_b0", 19)
    assert equal(network.state_dict(), loaded.network.state_dict())
    teacher = build_segmentor("hrda_mit_b0", 19, **SMALL_HRDA)
    load_network_state(teacher, torch.load(file)["state_dict"], "teacher")
    assert equal(network.state_dict(), teacher.state_dict(), 1)


def test_fixed_attention_leaves_out_the_learned_one(network, tmp_path):
    file = official_file(network, tmp_path)
    loaded = build_network("hrda_mit_b0", 19, weights=file, fixed_attention=0.5, **SMALL_HRDA)
    assert not any(name.startswith("scale_attention") for name in loaded.state_dict())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("daformer_mit_b0", {"width": 8, "fusion": "aspp"}),
        ("daformer_mit_b1", {"fusion": "conv1"}),
        ("daformer_mit_b0", {"fusion": "conv3"}),
        ("deeplab_v2_resnet50", {}),
        ("hrda_mit_b0", {"classwise_attention": False}),
        ("hrda_resnet101", {}),
    ],
)
def test_networks_are_told_from_their_tensors(name, options):
    with torch.device("meta"):
        state = mmseg.from_network(build_segmentor(name, 7, **options).state_dict())
        kind = mmseg.describe(state)
        assert (kind.name, kind.num_logits, kind.options) == (name, 7, options)
        again = build_segmentor(kind.name, 7, **kind.options).state_dict()
    assert mmseg.to_network(state).keys() == again.keys()


def test_backbones_are_loaded_alone(network):
    backbone = {n.removeprefix("backbone."): v for n, v in mmseg.from_network(network.state_dict()).items()}
    backbone = {n: v for n, v in backbone.items() if not n.startswith("decode_head.")}
    other = build_segmentor("daformer_mit_b0", 3)
    load_backbone(other, backbone | {"head.weight": torch.zeros(1000, 256)})
    assert equal(network.backbone.state_dict(), other.backbone.state_dict())
    with pytest.raises(WeightsError, match=r"stem\.6"):
        load_backbone(other, {"conv1.weight": torch.zeros(1)})


def test_other_files_are_refused(network):
    with pytest.raises(WeightsError, match="decode_head"):
        mmseg.to_network({"backbone.norm1.weight": torch.zeros(1)})
    lacking = mmseg.from_network(network.state_dict())
    del lacking["decode_head.head.conv_seg.bias"]
    with pytest.raises(WeightsError, match=r"head\.classifier\.bias"):
        load_network_state(network, lacking)
