"""Colour jitter, grey and blur: identities, hand-made values, the narrow kernel against the wide one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.data.photometric import (
    ColourFactors,
    distort_colours,
    gaussian_blur,
    jitter_colours,
    reference_kernel_size,
    to_grey,
)


def images(seed: int, batch: int = 2, size: tuple[int, int] = (9, 13)) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def factors(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, batch=2) -> ColourFactors:
    return ColourFactors(*(torch.full((batch,), v) for v in (brightness, contrast, saturation, hue)))


@given(st.integers(0, 999), st.permutations(range(4)), st.sampled_from(["additive", "multiplicative"]))
@settings(max_examples=20, deadline=None)
def test_neutral_factors_change_nothing(seed, order, convention):
    image = images(seed)
    changed = jitter_colours(image, factors(), order, convention=convention)
    torch.testing.assert_close(changed, image, atol=2e-6, rtol=0)


def test_brightness_and_contrast_mean_what_the_convention_says():
    image = torch.full((1, 3, 2, 2), 0.5)
    image[..., 0] = 0.3
    bright = factors(brightness=1.2, batch=1)
    torch.testing.assert_close(jitter_colours(image, bright, [0], convention="additive"), image + 0.2)
    torch.testing.assert_close(jitter_colours(image, bright, [0], convention="multiplicative"), image * 1.2)
    strong = factors(contrast=1.5, batch=1)
    torch.testing.assert_close(jitter_colours(image, strong, [1], convention="additive"), image * 1.5)
    spread = jitter_colours(image, strong, [1], convention="multiplicative")
    torch.testing.assert_close(spread[0, 0, 0], torch.tensor([0.25, 0.55]))


def test_hue_turns_the_colours():
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    for turns, expected in (
        (1 / 3, [0.0, 1, 0]),
        (2 / 3, [0.0, 0, 1]),
        (-1 / 3, [0.0, 0, 1]),
        (0.5, [0.0, 1, 1]),
    ):
        changed = jitter_colours(red, factors(hue=turns, batch=1), [3])
        torch.testing.assert_close(changed.flatten(), torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("convention", ["additive", "multiplicative"])
def test_no_saturation_is_without_colour(convention):
    changed = jitter_colours(images(1), factors(saturation=0.0), [2], convention=convention)
    assert (changed.amax(1) - changed.amin(1)).max() < 1e-6


@given(st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_each_image_has_its_own_factors(seed):
    generator = torch.Generator().manual_seed(seed)
    image = images(seed)
    drawn = ColourFactors(*(0.8 + 0.4 * torch.rand(2, generator=generator) for _ in range(4)))
    together = jitter_colours(image, drawn, convention="multiplicative")
    for k in range(2):
        alone = jitter_colours(
            image[k : k + 1], ColourFactors(*(f[k : k + 1] for f in drawn)), convention="multiplicative"
        )
        torch.testing.assert_close(together[k : k + 1], alone)


def test_grey_has_equal_channels_and_keeps_grey():
    grey = to_grey(images(0))
    assert torch.equal(grey[:, 0], grey[:, 2])
    torch.testing.assert_close(to_grey(grey), grey)


@given(st.integers(0, 999), st.floats(0.15, 1.15), st.floats(0.15, 1.15))
@settings(max_examples=15, deadline=None)
def test_the_narrow_kernel_blurs_like_the_wide_one(seed, first, second):
    image, sigma = images(seed, size=(130, 140)), torch.tensor([first, second])
    wide, narrow = (gaussian_blur(image, sigma, reference_compat=c) for c in (True, False))
    torch.testing.assert_close(narrow, wide, atol=1e-5, rtol=0)


def test_blur_spreads_a_dot_like_a_gaussian():
    dot = torch.zeros(1, 1, 41, 41)
    dot[0, 0, 20, 20] = 1
    blurred = gaussian_blur(dot, torch.tensor([2.0]))[0, 0]
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    offsets = torch.arange(41) - 20.0
    assert (blurred.sum(0) * offsets**2).sum() == pytest.approx(4, rel=1e-2)
    assert (blurred.sum(1) * offsets**2).sum() == pytest.approx(4, rel=1e-2)
    constant = gaussian_blur(torch.full((1, 1, 5, 3), 0.7), torch.tensor([9.0]))
    torch.testing.assert_close(constant, torch.full((1, 1, 5, 3), 0.7))


def test_half_precision_in_half_precision_out():
    image = images(3).bfloat16()
    assert jitter_colours(image, factors(brightness=1.1)).dtype == torch.bfloat16
    assert gaussian_blur(image, torch.ones(2)).dtype == torch.bfloat16


def test_the_wide_kernel():
    assert [reference_kernel_size(n) for n in (512, 1024)] == [51, 103]


def test_distorted_colours_stay_colours_and_change_in_some_images():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 6, 5, generator=generator)
    found = [distort_colours(image, generator) for _ in range(40)]
    assert all(one.min() >= 0 and one.max() <= 1 for one in found)
    unchanged = sum(torch.allclose(one, image, atol=1e-5) for one in found)
    assert 0 < unchanged < 10
    assert max((one - image).abs().max() for one in found) > 0.2
