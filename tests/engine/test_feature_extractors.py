"""Features by name: files of ours in both precisions, random weights, and what is refused."""

import pytest
import torch

from nolabel.engine.feature_extractors import load_features, open_features, save_features
from nolabel.errors import ConfigError, WeightsError
from nolabel.models.features import DenseDescriptors, DescribedFeatures, build_backbone
from nolabel.weights import save_safetensors

OPTIONS = {"widths": [8, 8, 16], "depths": [1, 1, 1], "channels": 12}
IMAGE = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_backbone("compact", OPTIONS).eval()


@pytest.mark.parametrize(("store", "tolerance"), [("float32", 0.0), ("float16", 5e-3)])
def test_saved_and_loaded(network, tmp_path, store, tolerance) -> None:
    path = save_features(network, tmp_path / "model.safetensors", "compact", OPTIONS, store=store, steps=3)
    for name, weights in ((str(tmp_path), None), (str(path), None), ("learnt", tmp_path)):
        found = open_features(name, weights=weights)
        assert all(value.dtype != torch.float16 for value in found.state_dict().values())
        torch.testing.assert_close(found(IMAGE), network(IMAGE), atol=tolerance, rtol=tolerance)
        assert not any(parameter.requires_grad for parameter in found.parameters())


def test_half_precision_is_half_as_large(network, tmp_path) -> None:
    sizes = [
        save_features(network, tmp_path / store, "compact", OPTIONS, store=store).stat().st_size
        for store in ("float16", "float32")
    ]
    assert sizes[0] < 0.75 * sizes[1]


def test_the_card_says_whether_descriptors_go_beside(network, tmp_path) -> None:
    save_features(network, tmp_path / "model.safetensors", "compact", OPTIONS, described=1.5)
    found = open_features(str(tmp_path))
    assert isinstance(found, DescribedFeatures) and found.channels == 15 + 12
    both = found(IMAGE)
    torch.testing.assert_close(both[:, :15], DenseDescriptors()(IMAGE))
    lengths = both[:, 15:, 2:-2:2, 2:-2:2].norm(dim=1)  # interpolated unit vectors are a little shorter
    assert lengths.max() <= 1.5001 and lengths.mean() > 1.2
    assert open_features(str(tmp_path), place=False)(IMAGE)[:, 8].abs().max() == 0
    assert load_features(tmp_path, bare=True).channels == 12


def test_random_weights_come_from_the_seed(network, tmp_path) -> None:
    save_features(network, tmp_path / "model.safetensors", "compact", OPTIONS)
    state = torch.get_rng_state()
    first, again, other = (open_features(str(tmp_path), random_seed=seed)(IMAGE) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, network(IMAGE))
    assert torch.equal(torch.get_rng_state(), state)
    assert open_features("resnet18", random_seed=0)(IMAGE).shape[1] == 256


def test_descriptors_by_name() -> None:
    found = open_features("descriptors")
    torch.testing.assert_close(found(IMAGE), DenseDescriptors()(IMAGE))
    assert open_features("descriptors", place=False)(IMAGE)[:, 8].abs().max() == 0  # the row


def test_refusals(network, tmp_path) -> None:
    with pytest.raises(ConfigError, match="no weights to be random"):
        open_features("descriptors", random_seed=0)
    with pytest.raises(ConfigError, match="need weights"):
        open_features("learnt")
    with pytest.raises(WeightsError, match="has not finished"):
        load_features(tmp_path)
    other = save_safetensors(tmp_path / "other.safetensors", {"a": torch.zeros(2)}, {"kind": "segmentor"})
    with pytest.raises(WeightsError, match="segmentor"):
        load_features(other)
    wrong = save_features(network, tmp_path / "wrong.safetensors", "compact", {**OPTIONS, "channels": 16})
    with pytest.raises(WeightsError):
        load_features(wrong)
    with pytest.raises(WeightsError, match="need weights"):
        open_features("resnet18")
