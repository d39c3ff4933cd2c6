"""The first stage over folders: resumed, in shards, past unreadable photographs and images without objects."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.engine.feature_extractors import save_features
from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.methods.unmore.grid_features import (
    GridFeatures,
    load_grid_features,
    square_image,
    weights_hashes,
)
from nolabel.methods.unmore.label_files import read_label_file
from nolabel.methods.unmore.maskcut import mask_cuts, refine_cuts
from nolabel.methods.unmore.pseudo_masks import make_pseudo_masks
from nolabel.methods.unmore.published_labels import adopt_labels
from nolabel.methods.unmore.votecut_settings import (
    CrfSettings,
    FeatureSettings,
    MaskCutSettings,
    PseudoMaskConfig,
    named_features,
)
from nolabel.models.features import DenseDescriptors, SquareVit, build_backbone
from nolabel.weights import file_hash

FAST = PseudoMaskConfig().replaced(crf={"iterations": 2})


def disc(row: int, column: int, size=(60, 80)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 < 14**2


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, place in (("one.png", (30, 30)), ("deeper/two.jpg", (25, 45))):
        picture = np.full((60, 80, 3), (60, 110, 50)) + draw.integers(-8, 8, (60, 80, 3))
        picture[disc(*place)] += np.array([150, -50, -10])
        Image.fromarray(picture.astype(np.uint8)).save(folder / name)
    Image.fromarray(np.full((50, 40, 3), 90, np.uint8)).save(folder / "blank.png")
    return folder


def test_discs_are_found_and_broken_files_named(photos, tmp_path):
    (photos / "broken.jpg").write_bytes((photos / "deeper/two.jpg").read_bytes()[:400])
    out = tmp_path / "labels"
    summary = make_pseudo_masks(photos, out, FAST, pictures=10, progress=False)
    assert [name for name, _ in summary.labelling.failed] == ["broken"]
    images = {image.file_name: image for image in read_label_file(out)}
    assert sorted(images) == ["blank.png", "deeper/two.jpg", "one.png"]
    for name, place in (("one.png", (30, 30)), ("deeper/two.jpg", (25, 45))):
        best = images[name].instances.mask(0).numpy()
        assert (best & disc(*place)).sum() / (best | disc(*place)).sum() > 0.8
        assert images[name].instances.scores[0] == 1
        assert set(images[name].extra) == {"cluster_size", "crf_success"}
    assert summary.images == 3
    assert summary.sheet is not None
    assert summary.sheet.is_file()

    # Shards of another folder, with the broken file in between, give the same file.
    shards = tmp_path / "shards"
    for shard in ("2/2", "1/2"):
        make_pseudo_masks(photos, shards, FAST, shard=shard, progress=False)
    assert (shards / "labels.json").read_bytes() == (out / "labels.json").read_bytes()

    # Repaired, only it is done; other settings are refused.
    shutil.copy(photos / "one.png", photos / "broken.jpg")
    again = make_pseudo_masks(photos, out, FAST, pictures=10, progress=False)
    assert (again.labelling.done, again.labelling.skipped, again.images) == (1, 3, 4)
    with pytest.raises(ConfigError, match="other settings"):
        make_pseudo_masks(photos, out, PseudoMaskConfig(), progress=False)

    # Such a file may come from elsewhere.
    content = json.loads((out / "labels.json").read_text())
    for row in content["annotations"]:
        row["weight"] = row.pop("score")
    for image in content["images"]:
        image["file_name"] = "n01/" + image["file_name"].split("/")[-1].replace("png", "JPEG")
    (tmp_path / "published.json").write_text(json.dumps(content))
    path, known, unknown = adopt_labels(photos, tmp_path / "published.json", tmp_path / "adopted")
    assert (known, unknown) == (4, 0)
    assert path.read_bytes() == (out / "labels.json").read_bytes()
    Image.new("RGB", (9, 9)).save(photos / "one.png")
    with pytest.raises(DataError, match="9 x 9"):
        adopt_labels(photos, tmp_path / "published.json", tmp_path / "adopted")


def test_maskcut_takes_one_object_after_the_other():
    grid = torch.zeros(3, 20, 20)
    grid[0] = 1
    grid[:, 3:9, 3:9] = torch.tensor([0.0, 1, 0])[:, None, None]
    grid[:, 11:18, 10:18] = torch.tensor([0.0, 0, 1])[:, None, None]
    cuts = mask_cuts(grid, MaskCutSettings(masks=2))
    found = {int(mask.sum()) for mask in cuts.masks}
    assert found == {36, 56}
    image = torch.zeros(3, 33, 47, dtype=torch.uint8)
    left = refine_cuts(
        cuts.masks, image, square_image(image, 40), MaskCutSettings(), CrfSettings(iterations=0)
    )
    assert [mask.shape for mask in left] == [(33, 47)] * 2


def test_networks_are_read_off_their_weights():
    draw = torch.Generator().manual_seed(0)
    for second in (False, True):
        small = SquareVit(384, 6, 2, 16, 4, layer_scale=second, keys=not second)
        state = {
            n: torch.randn(p.shape, generator=draw) * 0.05 for n, p in small.network.state_dict().items()
        }
        network = SquareVit.from_official(state, 90)
        assert (network.side, network.keys, network.stride) == (80, not second, 16)
        image = torch.rand(1, 3, 80, 80, generator=draw)
        features = network.eval()(image)
        assert features.shape == (1, 384, 5, 5)
        if not second:
            *earlier, last = network.network.blocks
            tokens = network.network._pos_embed(network.network.patch_embed(network.normalise(image)))
            for block in earlier:
                tokens = block(tokens)
            weight, bias = last.attn.qkv.weight[384:768], last.attn.qkv.bias[384:768]  # query, key, value
            keys = (last.norm1(tokens) @ weight.T + bias)[0, 1:]  # without the class token
            torch.testing.assert_close(features[0].flatten(1).T, keys, atol=1e-4, rtol=1e-4)
    with pytest.raises(WeightsError, match="no DINO"):
        SquareVit.from_official({"weight": torch.zeros(2)}, 90)


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    small = SquareVit(384, 6, 1, 16, 14, layer_scale=False, keys=True)
    save_file(small.network.state_dict(), tmp_path / "vit.safetensors")
    weights = tmp_path / "vit.safetensors"
    assert load_grid_features(FeatureSettings(name="dino_s16", weights=weights), 64).side == 64
    assert load_grid_features(FeatureSettings(name="dino_s16", weights=weights, side=100), 64).side == 96
    for name in ("dino_b16", "dino_s8", "vit_small_patch14_dinov2"):
        with pytest.raises(WeightsError, match="width 384 with patches of 16"):
            load_grid_features(FeatureSettings(name=name, weights=weights), 64)
    with pytest.raises(WeightsError, match="need weights"):
        load_grid_features(FeatureSettings(name="dino_s16"), 64)


def test_features_of_a_run_folder(tmp_path):
    options = {"widths": [8, 8, 16], "depths": [1, 1, 1], "channels": 12}
    save_features(build_backbone("compact", options), tmp_path / "model.safetensors", "compact", options)
    chosen = FeatureSettings(name="learnt", weights=tmp_path, side=64)
    image = torch.randint(0, 255, (3, 30, 50), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert load_grid_features(chosen, 480).of(image).shape == (12, 8, 8)
    assert weights_hashes((chosen, FeatureSettings(name="descriptors"))) == (
        file_hash(tmp_path / "model.safetensors"),
        "",
    )


def test_names_and_weights_come_in_pairs(tmp_path):
    paired = named_features(["dino_s8", "embedded", "dino_b8"], [tmp_path / "a", tmp_path / "b"])
    assert [entry["weights"] for entry in paired] == [str(tmp_path / "a"), None, str(tmp_path / "b")]
    with pytest.raises(ConfigError, match="2 networks need weights and 1"):
        named_features(["dino_s8", "dino_b8"], [tmp_path / "a"])
    with pytest.raises(ConfigError, match="one network"):
        PseudoMaskConfig().replaced(method="maskcut", features=[{}, {}])


def test_centred_features_have_no_mean():
    features = GridFeatures(DenseDescriptors(), 40, centred=True)
    given = torch.randint(0, 255, (3, 30, 50), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.testing.assert_close(features.of(given).mean((1, 2)), torch.zeros(15), atol=1e-5, rtol=0)
