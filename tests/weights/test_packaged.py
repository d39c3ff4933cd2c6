"""The networks that the package carries: small, described, and what the names ``embedded`` open."""

import json

import pytest
import torch

from nolabel.engine.feature_extractors import open_features
from nolabel.engine.motion_estimators import open_estimator
from nolabel.models.features import DescribedFeatures
from nolabel.weights import load_checkpoint
from nolabel.weights.packaged import embedded_file

LARGEST = {"cups": 8e6, "features": 12e6, "motion": 3e6}  # bytes


@pytest.mark.parametrize("name", LARGEST)
def test_it_is_small_and_says_where_it_comes_from(name: str) -> None:
    path = embedded_file(name)
    assert path.stat().st_size <= LARGEST[name]
    card = load_checkpoint(path).metadata
    assert card["licence"] == "Apache-2.0" and "no foreign weights" in card["trained_on"]
    assert card["recipe"]


@pytest.mark.parametrize("name", ["features", "motion"])
def test_the_card_lies_beside_it(name: str) -> None:
    path = embedded_file(name)
    assert json.loads(path.with_suffix(".json").read_text()) == load_checkpoint(path).metadata


def test_features_tell_a_texture_from_a_plain() -> None:
    features = open_features("embedded")
    assert isinstance(features, DescribedFeatures)
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    picture[..., 48:] = 0.2
    found = features(picture)
    assert found.shape[-2:] == (16, 24) and found.isfinite().all()
    network = open_features("embedded", bare=True)(picture)[0]
    left, right = network[:, :, :4].flatten(1).mean(1), network[:, :, -4:].flatten(1).mean(1)
    assert torch.cosine_similarity(left, right, dim=0) < 0.4  # random weights: 0.74 to 0.84


def test_motion_follows_a_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 20, 32, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, size=(160, 256), mode="bicubic").clamp(0, 1)
    scene = (0.7 * scene + 0.3 * torch.rand(1, 3, 160, 256, generator=generator)).clamp(0, 1)
    first, second = scene[..., 16:144, 24:216], scene[..., 16:144, 20:212]  # everything moves 4 pixels right
    flow = open_estimator("embedded").flow(first, second)[0, :, 24:-24, 24:-24]
    assert (flow[0].median() - 4).abs() < 1.5 and flow[1].median().abs() < 1.5
