"""A network as evaluations ask for it."""

import pytest
import torch
from typer.testing import CliRunner

from nolabel.cli import app
from nolabel.geometry import pixel_intrinsics
from nolabel.methods.scenedino.network_files import save_scenedino
from nolabel.methods.scenedino.network_scenes import NetworkScenes
from nolabel.models.features.vit_maps import VitConfig
from nolabel.models.rendering import RenderSettings, image_rays, render
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig

TINY = SceneDinoConfig(
    vit=VitConfig(width=64, depth=4, grid=(6, 20), taps=(0, 1, 2)),
    target=None,
    channels=40,
    reassembled=(4, 4, 6, 8),
    decoded=8,
    compact=5,
    hidden=12,
    expansion_hidden=10,
    head=HeadConfig(code=7, clusters=21, classes=19),
)
HEADS = {"stego_cluster", "direct_cluster", "stego_linear", "direct_linear"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return SceneDino(TINY).eval()


@pytest.fixture(scope="module")
def given():
    image = torch.rand(3, 48, 160, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[0.8, 0.0, 0.0], [0.0, 2.9, 0.3], [0.0, 0.0, 1.0]])
    return image, pixel_intrinsics(matrix, 48, 160)


@torch.no_grad()
def test_a_view_is_what_the_plain_renderer_shows(network, given):
    scenes = NetworkScenes(network, settings=RenderSettings(samples=8))
    seen = scenes.view(*given, features=True)
    field, view = scenes.encode(*given)
    plain = render(field, image_rays(view.intrinsics, view.poses, 48, 160), scenes.settings)
    torch.testing.assert_close(seen.distance.flatten(), plain.depth[0], rtol=1e-4, atol=1e-3)
    features = network.expansion(plain.features[0])
    torch.testing.assert_close(seen.features.flatten(1).T, features, rtol=1e-3, atol=1e-4)
    assert set(seen.clusters) == set(seen.classes) == HEADS
    classes = network.semantic_head(features, "stego_kmeans").view(48, 160)
    assert (seen.classes["stego_cluster"] == classes).float().mean() > 0.99
    assert all(int(ids.max()) < 21 for ids in seen.clusters.values())


def test_evaluation_is_deterministic_unless_a_seed_is_given(network, given):
    plain = [NetworkScenes(network).view(*given).distance for _ in range(2)]
    drawn = [NetworkScenes(network, seed=seed).view(*given).distance for seed in (1, 1, 2)]
    assert torch.equal(*plain) and torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2]) and not torch.equal(plain[0], drawn[0])


def test_volumes_and_networks_without_a_head(network, given):
    axes = torch.meshgrid(
        torch.linspace(-4, 4, 6), torch.linspace(-1, 1, 4), torch.linspace(4, 20, 5), indexing="ij"
    )
    centres = torch.stack(axes, dim=-1)
    volume = NetworkScenes(network, "direct_linear").volume(*given, centres)
    field, _ = NetworkScenes(network).encode(*given)
    density = field.query(centres.view(1, -1, 3)).density.view(6, 4, 5)
    torch.testing.assert_close(volume.density, density)
    assert volume.classes.shape == (6, 4, 5) and int(volume.classes.max()) < 19
    torch.manual_seed(0)
    bare = NetworkScenes(SceneDino(SceneDinoConfig(**(vars(TINY) | {"head": None}))))
    assert bare.view(*given).clusters == {} and int(bare.volume(*given, centres).classes.max()) == 0


def test_commands_score_a_network(network, kitti360_world, tmp_path):
    save_scenedino(network, tmp_path / "model.safetensors")
    options = ["--data", str(kitti360_world), "--split", "train", "--size", "48x160", "--limit", "1"]
    result = CliRunner().invoke(
        app,
        [
            "scenedino",
            "evaluate-2d",
            str(tmp_path),
            *options,
            "--protocol",
            "published",
            "--out",
            str(tmp_path),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "stego_cluster_crf" in result.output and (tmp_path / "results.json").is_file()
    result = CliRunner().invoke(
        app, ["scenedino", "evaluate-ssc", *options, "--baseline", "ground", "--out", str(tmp_path / "ssc")]
    )
    assert result.exit_code == 0, result.output
    assert "Mode: hungarian" in result.output and (tmp_path / "ssc" / "results.md").is_file()
    same = ["scenedino", "evaluate-consistency", str(tmp_path), *options, "--step", "1"]
    result = CliRunner().invoke(app, same)
    assert result.exit_code == 0 and "cosine" in result.output, result.output
    refused = CliRunner().invoke(app, ["scenedino", "evaluate-ssc", *options])
    assert refused.exit_code != 0 and "one of the three" in str(refused.exception)
