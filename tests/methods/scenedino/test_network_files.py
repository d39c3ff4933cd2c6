"""SceneDINO networks on disk: ours, official structures, and what a training starts from."""

import dataclasses

import pytest
import torch

from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.geometry import pixel_intrinsics
from nolabel.methods.scenedino.network_files import (
    load_scenedino,
    official_config,
    save_scenedino,
    scenedino_from,
    start_transformers,
)
from nolabel.models.features.vit_maps import VitConfig, VitMaps, vit_config
from nolabel.models.rendering import Views
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig, scenedino_config
from nolabel.weights import save_safetensors
from nolabel.weights.layouts import scenedino as layout

VIT = VitConfig(width=64, depth=11, patch=8, stride=8, grid=(2, 4))
SMALL = SceneDinoConfig(
    vit=VIT,
    target=dataclasses.replace(VIT, taps=()),
    channels=64,
    reassembled=(4, 4, 6, 8),
    decoded=8,
    compact=5,
    hidden=12,
    expansion_hidden=10,
    head=HeadConfig(code=7, clusters=6, classes=4),
)


def image():
    matrix = pixel_intrinsics(torch.eye(3), 16, 32).expand(1, 1, 3, 3)
    return Views(torch.rand(1, 1, 3, 16, 32), matrix, torch.eye(4).expand(1, 1, 4, 4))


def answers(network):
    points = torch.tensor([[[0.1, 0.2, 5.0], [2.0, 0.0, 20.0]]])
    torch.manual_seed(0)
    with torch.no_grad():
        sample = network.encode(image()).query(points)
        return torch.cat([sample.density.flatten(), network.expansion(sample.features).flatten()])


def test_round_trip(tmp_path):
    network = SceneDino(SMALL).eval()
    path = save_scenedino(network, tmp_path / "model.safetensors", steps=3)
    for place, targets in ((path, False), (tmp_path, True)):
        loaded = load_scenedino(place, targets=targets)
        torch.testing.assert_close(answers(loaded), answers(network))
        assert (loaded.target is not None) == targets


def test_official_files(tmp_path):
    network = SceneDino(SMALL).eval()
    official = layout.from_network(network.state_dict())
    assert "renderer.net.encoder.gt_encoder.model.vit.pos_embed" in official
    assert official["renderer.net.downstream_head.stego_head.linear_path.0.weight"].ndim == 4
    assert official_config(official) == SMALL
    ignored = {"lpips.lin0.model.1.weight": torch.zeros(1), "renderer.renderer.iter_idx": torch.zeros(())}
    for content in (official | ignored, {"model": official | ignored, "trainer": {"iteration": 5}}):
        torch.save(content, tmp_path / "checkpoint.pt")
        loaded = load_scenedino(tmp_path / "checkpoint.pt")
        torch.testing.assert_close(answers(loaded), answers(network))
    del official["renderer.net.heads.normal_head.lin_out.bias"]
    with pytest.raises(WeightsError, match=r"point_decoder\.last\.bias"):
        scenedino_from(official)
    with pytest.raises(WeightsError, match="no SceneDINO network"):
        torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
        load_scenedino(tmp_path / "other.pt")


def test_without_artifact_field_the_image_size_must_be_told():
    config = dataclasses.replace(SMALL, artifacts=False)
    official = layout.from_network(SceneDino(config).state_dict())
    with pytest.raises(WeightsError, match="8 cells"):
        official_config(official)
    assert official_config(official, (16, 32)) == config


def test_cards_survive_json():
    config = scenedino_config("vit-s", "reg", (64, 128), head=HeadConfig(clusters=27), target="descriptors")
    assert SceneDinoConfig.from_card(config.to_card()) == config
    with pytest.raises(ConfigError):
        SceneDinoConfig.from_card({"colour": 3})
    with pytest.raises(ConfigError, match="vit-x"):
        scenedino_config("vit-x")
    with pytest.raises(ConfigError, match="multiples of 16"):
        vit_config("vit-s", "v2", (100, 128))


def test_start_from_a_transformer_of_another_image_size(tmp_path):
    source = VitMaps(dataclasses.replace(VIT, grid=(4, 4)))
    save_safetensors(tmp_path / "dino.safetensors", source.vit.state_dict(), {})
    network = SceneDino(SMALL)
    start_transformers(network, tmp_path / "dino.safetensors")
    pictures = torch.rand(1, 3, 16, 32)
    maps = [v(pictures) for v in (network.encoder.vit, network.target)]
    torch.testing.assert_close(*maps)
    # The same table, resampled when it is used instead of when it was loaded.
    torch.testing.assert_close(source(pictures), maps[0])
    with pytest.raises(DataError, match="whole number of tokens"):
        source(torch.rand(1, 3, 17, 32))


def test_registers_of_the_official_file():
    config = dataclasses.replace(VIT, registers=2, layer_scale=True)
    network = VitMaps(config)
    ours = network.vit.state_dict()
    theirs = dict(ours)
    theirs["register_tokens"] = theirs.pop("reg_token")
    place = torch.rand(1, 1, 64)
    theirs["pos_embed"] = torch.cat([place, ours["pos_embed"]], dim=1)
    theirs["cls_token"] = ours["cls_token"] - place
    adapted = network.adapted(theirs)
    assert adapted.keys() == ours.keys()
    for name, value in ours.items():
        torch.testing.assert_close(adapted[name], value)


@pytest.mark.parametrize("target", ["shared", "descriptors"])
def test_other_targets(target):
    sizes = scenedino_config("vit-t", target="descriptors") if target == "descriptors" else SMALL
    changes = {"target": target, "channels": sizes.channels, "stride": sizes.stride}
    network = SceneDino(dataclasses.replace(SMALL, **changes))
    found = network.targets(torch.rand(2, 3, 16, 32))
    assert found.shape[:2] == (2, sizes.channels)
    torch.testing.assert_close(found.norm(dim=1), torch.ones_like(found[:, 0]))
    trained = any(p.requires_grad for p in network.encoder.vit.parameters())
    assert trained == (target == "descriptors")


def test_sizes_of_targets_are_checked():
    with pytest.raises(ConfigError, match="channels"):
        SceneDino(dataclasses.replace(SMALL, channels=32))
