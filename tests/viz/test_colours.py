"""Colours say what they promise."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.viz import (
    depth_colours,
    disparity_colours,
    error_colours,
    feature_colours,
    flow_colours,
    flow_wheel,
    id_colours,
    instance_colours,
    label_colours,
    panoptic_colours,
    principal_colours,
    scalar_colours,
    to_picture,
)
from nolabel.viz.colours import RIGHT, VOID, WRONG, hsv_to_rgb


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5, 3), (1, 3, 4, 5), (4, 5), (1, 4, 5), (4, 5, 1)])
@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_any_image_becomes_a_picture(shape, kind):
    picture = to_picture(kind(np.full(shape, 0.5, dtype=np.float32)))
    assert picture.shape == (4, 5, 3) and picture.dtype == np.uint8 and (picture == 128).all()
    assert (to_picture(kind(np.full(shape, 7, dtype=np.uint8))) == 7).all()


def test_channels_first_or_last_is_the_same_picture():
    image = np.random.default_rng(0).random((4, 5, 3))
    np.testing.assert_array_equal(to_picture(image), to_picture(torch.from_numpy(image).permute(2, 0, 1)))
    assert (to_picture(np.array([[True, False]])) == [[[255] * 3, [0] * 3]]).all()
    with pytest.raises(DataError, match=r"\(2, 4, 5\)"):
        to_picture(np.zeros((2, 4, 5)))


@given(st.floats(0, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_hsv(h, s, v):
    ours = hsv_to_rgb(np.array(h), np.array(s), np.array(v))
    np.testing.assert_allclose(ours, colorsys.hsv_to_rgb(h, s, v), atol=1e-9)


def test_ids_keep_their_colour_and_differ():
    colours = id_colours(np.arange(1, 60))
    assert len({tuple(c) for c in colours}) == 59
    np.testing.assert_array_equal(id_colours([40, 0]), [colours[39], [0, 0, 0]])
    small, large = instance_colours(np.array([[0, 3]])), instance_colours(np.array([[9, 3], [1, 2]]))
    np.testing.assert_array_equal(small[0, 1], large[0, 1])


def test_label_colours_send_strangers_to_void():
    colours = label_colours(torch.tensor([[0, 255, -1, 300]]), CITYSCAPES_19.palette)
    np.testing.assert_array_equal(colours[0], [[128, 64, 128], [0, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_panoptic_colours():
    road, car = 0, 13
    semantic, instance = np.array([[road, car, car, car, 255]]), np.array([[0, 0, 1, 2, 5]])
    colours = panoptic_colours(semantic, instance, CITYSCAPES_19.palette)[0]
    np.testing.assert_array_equal(colours[:2], CITYSCAPES_19.palette[[road, car]])
    assert len({tuple(c) for c in colours[1:4]}) == 3
    np.testing.assert_array_equal(colours[4], 0)
    alone = panoptic_colours(np.array([[car]]), np.array([[2]]), CITYSCAPES_19.palette)[0, 0]
    np.testing.assert_array_equal(alone, colours[3])


def test_scalars_outside_the_mask_are_black():
    values = np.array([[0.0, 1.0, np.nan, 0.5]])
    colours = scalar_colours(values, valid=[[True, True, True, False]])
    assert colours[0, :2].any(axis=-1).all() and not colours[0, 2:].any()
    assert not scalar_colours(np.full((2, 2), np.nan)).any()
    np.testing.assert_array_equal(
        scalar_colours(values, low=0, high=1)[0, 1], scalar_colours([[9]], low=0, high=1)[0, 0]
    )


def test_near_is_brighter_than_far():
    depth = depth_colours(np.array([[0.0, 2.0, 50.0]]))[0].sum(-1)
    assert depth[0] == 0 and depth[1] > depth[2]
    disparity = disparity_colours(np.array([[0.0, 2.0, 50.0]]))[0].sum(-1)
    assert disparity[0] == 0 and disparity[2] > disparity[1]


def test_flow_directions():
    flow = np.array([[[1.0, -1, 0, 0, np.nan]], [[0.0, 0, 0, 1, 0]]])
    right, left, still, down, unknown = flow_colours(flow, largest=1)[0].tolist()
    assert right == [255, 0, 0] and left == [0, 255, 255] and still == [255] * 3 and unknown == [0] * 3
    wheel = flow_wheel(65)
    np.testing.assert_allclose(wheel[32, -1], right, atol=1)
    np.testing.assert_allclose(wheel[-1, 32], down, atol=1)
    assert (wheel[0, 0] == 255).all()


def test_errors():
    colours = error_colours(np.array([[1, 2, 3]]), torch.tensor([[1, 1, 255]]))
    assert colours[0].tolist() == [list(RIGHT), list(WRONG), list(VOID)]


def test_features_by_a_shared_basis():
    features = torch.randn(8, 6, 7, generator=torch.Generator().manual_seed(0))
    basis = principal_colours(features)
    np.testing.assert_allclose(basis.axes.T @ basis.axes, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(feature_colours(features, basis), feature_colours(features))
    half = feature_colours(features[:, :3], basis)
    np.testing.assert_array_equal(half, feature_colours(features, basis)[:3])
    assert feature_colours(features[:2]).shape == (6, 7, 3)
    # The first component of two well separated groups tells them apart.
    groups = torch.zeros(4, 2, 10)
    groups[1, :, 5:] = 9
    colours = feature_colours(groups)
    assert abs(int(colours[0, 0, 0]) - int(colours[0, 9, 0])) == 255
