"""Networks of unMORE on disk: official layouts, run folders, and what trainings start from."""

import dataclasses

import pytest
import timm
import torch

from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.unmore.network_files import (
    existence_from,
    load_existence,
    load_objectness,
    objectness_from,
    save_network,
    start_existence,
    start_objectness,
)
from nolabel.models.features.extractor import IMAGENET_MEAN, IMAGENET_STD
from nolabel.models.objectness import DptConfig, DptObjectness, build_existence, build_objectness
from nolabel.weights.layouts import unmore_existence, unmore_objectness

TINY = DptConfig(32, 4, 2, 16, 4, (0, 1, 2, 3), (8, 12, 16, 16), 12, 20)
OPTIONS = dataclasses.asdict(TINY)


def network_of(form: str) -> DptObjectness:
    torch.manual_seed(0)
    network = DptObjectness(dataclasses.replace(TINY, boundary=form))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.mark.parametrize("form", ["tanh", "sine", "none", "relu"])
def test_every_form_survives_the_official_layout(form: str) -> None:
    network, crops = network_of(form), torch.rand(1, 3, 64, 64)
    official = unmore_objectness.from_network(network.state_dict(), rectified=form == "relu")
    assert ("sdf_prediction_head.6.weight" in official) == (form == "relu")
    assert "backbone.scratch.refinenet4.resConfUnit1.conv2.bias" in official
    options = {**OPTIONS, "boundary": "tanh" if form == "relu" else form}
    again = objectness_from({f"module.{n}": v for n, v in official.items()}, "dpt_small", options)
    with torch.no_grad():
        torch.testing.assert_close(again(crops).boundary, network(crops).boundary)
        torch.testing.assert_close(again(crops).centre, network(crops).centre)


def test_a_damaged_official_file_is_refused() -> None:
    official = unmore_objectness.from_network(network_of("tanh").state_dict())
    for name in ("backbone.pretrained.model.norm.weight", "sdf_prediction_head.3.bias"):
        with pytest.raises(WeightsError, match="missing"):
            objectness_from({n: v for n, v in official.items() if n != name}, "dpt_small", OPTIONS)
    with pytest.raises(WeightsError, match="unexpected"):
        objectness_from({**official, "more": torch.zeros(1)}, "dpt_small", OPTIONS)
    with pytest.raises(WeightsError, match="no existence network"):
        unmore_existence.to_network(official)


def test_files_with_cards(tmp_path) -> None:
    torch.manual_seed(0)
    network, crops = build_objectness("tiny", width=16).eval(), torch.rand(2, 3, 64, 64)
    file = save_network(network, tmp_path / "model.safetensors", "objectness", "tiny", {"width": 16}, steps=3)
    for place in (tmp_path, file):
        torch.testing.assert_close(load_objectness(place)(crops).centre, network(crops).centre)
    with pytest.raises(WeightsError, match="no existence network but one for objectness"):
        load_existence(file)
    with pytest.raises(WeightsError, match="not finished"):
        (tmp_path / "empty").mkdir()
        load_objectness(tmp_path / "empty")
    with pytest.raises(WeightsError, match=r"objectness_net_model\.ckpt"):
        load_objectness("unmore_objectness")


def test_official_checkpoints(tmp_path) -> None:
    """As the original's trainer writes them."""
    torch.manual_seed(0)
    network, crops = build_existence().eval(), torch.rand(2, 3, 64, 64)
    official = unmore_existence.from_network(network.state_dict())
    assert "classifier_backbone.layer1.0.downsample.1.running_var" in official and len(official) == 322
    content = {
        "model_state_dict": official,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "iter": 7,
        "lr_scheduler_state_dict": {"milestones": {10000: 1}},
    }
    torch.save(content, tmp_path / "classifier_model.ckpt")
    with torch.no_grad():
        torch.testing.assert_close(load_existence(tmp_path / "classifier_model.ckpt")(crops), network(crops))
        torch.testing.assert_close(existence_from(official)(crops), network(crops))
    resnet = {n.removeprefix("classifier_backbone."): v for n, v in official.items() if "head" not in n}
    torch.save(resnet, tmp_path / "resnet50.pth")
    started = start_existence("resnet50", tmp_path / "resnet50.pth")
    torch.testing.assert_close(started.backbone.res5[2].conv3.weight, network.backbone.res5[2].conv3.weight)
    assert start_existence("resnet50", tmp_path / "classifier_model.ckpt").training
    with pytest.raises(ConfigError, match="ResNet-50"):
        start_existence("tiny", tmp_path / "resnet50.pth")


@pytest.mark.parametrize("scale", [None, 0.7])
def test_a_transformer_gives_its_own_tokens_in_the_new_place(tmp_path, scale) -> None:
    """Scales of layers and the normalisation of images become part of the weights, and nothing else changes."""
    torch.manual_seed(0)
    source = timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=32, depth=4, num_heads=2, num_classes=5, init_values=scale
    ).eval()
    torch.save({f"module.backbone.{n}": v for n, v in source.state_dict().items()}, tmp_path / "vit.pth")
    crops = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for inputs, seen in (("imagenet", (crops - mean) / std), ("none", crops)):
        network = start_objectness("dpt_small", OPTIONS, tmp_path / "vit.pth", inputs)
        expected = source.get_intermediate_layers(seen, n=1, norm=False)[0]
        torch.testing.assert_close(network._tokens(crops)[-1][:, 1:], expected, rtol=1e-4, atol=1e-5)


def test_starts_that_do_not_fit_are_refused(tmp_path) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(WeightsError, match="of another shape"):
        start_objectness("dpt_small", OPTIONS, tmp_path / "vit.pth")
    with pytest.raises(ConfigError, match="no vision transformer"):
        start_objectness("tiny", {}, tmp_path / "vit.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no vision transformer"):
        start_objectness("dpt_small", OPTIONS, tmp_path / "other.pth")
