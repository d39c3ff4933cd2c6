"""The depth-guided mixture of windows and whole image, with an extractor whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.methods.cups.semantics import (
    nearness,
    sample_features,
    semantic_log_probabilities,
    whole_image_log_probabilities,
    window_log_probabilities,
)
from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry


class MeanColour(FeatureExtractor):
    """Average colour of each 4-pixel cell; counts the images it sees."""

    stride, channels = 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        self.sizes.append(tuple(images.shape))
        return F.avg_pool2d(images, 4)


class Direct:
    """Classes are colour channels."""

    def project(self, features: Tensor) -> Tensor:
        return features

    def log_probabilities(self, code: Tensor) -> Tensor:
        return F.log_softmax(20 * code, dim=1)


def picture() -> Tensor:
    image = torch.zeros(3, 64, 128)
    image[0, :, :64] = 1
    image[1, :, 64:] = 1
    return image


def test_all_views_agree_away_from_the_edge() -> None:
    image, extractor = picture(), MeanColour()
    for scores in (
        window_log_probabilities(image, extractor, Direct()),
        whole_image_log_probabilities(image, extractor, Direct()),
        semantic_log_probabilities(image, extractor, Direct(), depth=torch.full((1, 64, 128), 3.0)),
    ):
        assert scores.shape == (3, 64, 128)
        assert (scores[:, :, :56].argmax(0) == 0).all()
        assert (scores[:, :, 72:].argmax(0) == 1).all()


def test_windows_are_half_the_height_and_batched() -> None:
    extractor = MeanColour()
    window_log_probabilities(picture(), extractor, Direct(), window_batch=8)
    assert sum(size[0] for size in extractor.sizes) == 3 * 7  # steps of a quarter height
    assert {size[2:] for size in extractor.sizes} == {(32, 32)}


@pytest.mark.parametrize("size", [(46, 98), (33, 40)])
def test_windows_cover_any_size(size: tuple[int, int]) -> None:
    scores = window_log_probabilities(torch.rand(3, *size), MeanColour(), Direct())
    assert scores.shape == (3, *size)
    assert scores.isfinite().all()


def test_near_is_read_from_the_whole_image_and_far_from_windows() -> None:
    image, extractor = torch.rand(3, 64, 128), MeanColour()
    near = whole_image_log_probabilities(image, extractor, Direct())
    far = window_log_probabilities(image, extractor, Direct())

    def mixed(depth: float) -> Tensor:
        return semantic_log_probabilities(image, extractor, Direct(), depth=torch.full((1, 64, 128), depth))

    torch.testing.assert_close(mixed(1e-6), near, atol=1e-4, rtol=0)
    torch.testing.assert_close(mixed(1e6), far, atol=1e-4, rtol=0)
    torch.testing.assert_close(mixed(3.0), 0.25 * near + 0.75 * far, atol=1e-5, rtol=0)


def test_unknown_depth_counts_as_far_except_in_the_original() -> None:
    depth = torch.tensor([0.0, 1.0])
    assert nearness(depth).tolist() == [0.0, 0.5]
    assert nearness(depth, reference_compat=True).tolist() == [1.0, 0.5]


def test_samples_come_from_all_views() -> None:
    image = picture()
    vectors = sample_features(image, MeanColour(), None, 200, torch.Generator().manual_seed(0))
    assert vectors.shape == (200, 3)
    assert 0.2 < float((vectors[:, 0] > 0.5).float().mean()) < 0.8
