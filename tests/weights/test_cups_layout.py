"""Official CUPS checkpoints: prefixes, sizes, and errors that name tensors."""

import pytest
import torch

from nolabel.errors import WeightsError
from nolabel.methods.cups.checkpoint import load_backbone, panoptic_from_checkpoint
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.weights.layouts import cups


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return PanopticCascadeMaskRCNN(PanopticConfig.tiny(2, 3)).eval()


@pytest.fixture
def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def load(state, **options):
    return panoptic_from_checkpoint(state, PanopticConfig.tiny(), **options)


def lightning(state):
    student = {f"model.{name}": value for name, value in state.items()}
    teacher = {f"teacher_model.model.{name}": value + 1 for name, value in state.items()}
    return student | teacher


def test_sizes_are_read_from_the_tensors(state):
    loaded = load(state)
    assert (loaded.config.num_things, loaded.config.num_stuff) == (2, 3)
    assert loaded.config == PanopticConfig.tiny(2, 3)
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_student_and_teacher_are_told_apart(state):
    bias = "sem_seg_head.predictor.bias"
    assert torch.equal(load(lightning(state)).state_dict()[bias], state[bias])
    assert torch.equal(load(lightning(state), part="teacher").state_dict()[bias], state[bias] + 1)
    with pytest.raises(WeightsError, match="no teacher"):
        load(state, part="teacher")


def test_detectron_files_and_frozen_norms_are_read(state):
    frozen = {name: value.numpy() for name, value in state.items() if "num_batches" not in name}
    frozen["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4).numpy()
    loaded = load({"model": frozen, "iteration": 7})
    assert loaded.backbone.bottom_up.stem["conv1"].norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s.pop("roi_heads.mask_head.deconv.bias"),
            r"1 missing: roi_heads\.mask_head\.deconv\.bias",
        ),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda s: s.update({"backbone.fpn_output3.norm.bias": torch.zeros(7)}),
            r"fpn_output3\.norm\.bias \(7,\)",
        ),
        (lambda s: s.pop("sem_seg_head.predictor.bias"), "not a CUPS checkpoint"),
        (lambda s: s.pop("backbone.fpn_output2.weight"), r"lacks backbone\.fpn_output2\.weight"),
    ],
)
def test_errors_name_the_tensor(state, change, words):
    change(state)
    with pytest.raises(WeightsError, match=words):
        load(state)


def test_a_pretrained_resnet_fills_the_backbone_alone(network, state):
    prefix = cups.BACKBONE_PREFIX
    resnet = {name[len(prefix) :]: value + 1 for name, value in state.items() if name.startswith(prefix)}
    resnet |= {"stem.fc.weight": torch.zeros(4, 4)}
    other = PanopticCascadeMaskRCNN(PanopticConfig.tiny(2, 3))
    heads = {name: value.clone() for name, value in other.state_dict().items() if not name.startswith(prefix)}
    load_backbone(other, {"model": resnet, "matching_heuristics": True})
    after = other.state_dict()
    assert all(torch.equal(after[name], value) for name, value in heads.items())
    weight = f"{prefix}res4.1.conv2.weight"
    assert torch.equal(after[weight], state[weight] + 1)
    del resnet["res3.0.shortcut.weight"]
    with pytest.raises(WeightsError, match=r"res3\.0\.shortcut\.weight"):
        load_backbone(other, resnet)
