"""The mixing core: what it must be by its definition, for images and for videos."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.config import load_config
from nolabel.data.mixing import listed_classes, present_classes
from nolabel.errors import ConfigError, TrainingError
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip, class_mask, paste
from nolabel.methods.quadmix.draws import (
    Draws,
    Plan,
    choose_mixed_classes,
    choose_source_classes,
    choose_target_classes,
    draw_windows,
    positions_of,
)
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import DIRECTIONS, QuadMixConfig, RareClassesConfig, WindowConfig
from nolabel.methods.quadmix.patches import Patches, as_executed_colours
from nolabel.methods.quadmix.strong_view import StrongViewConfig, draw_view, strong_view
from nolabel.models.segmentation.normalise import normalise_imagenet
from nolabel.models.video_segmentation import FeatureMix

SIZE = (8, 12)
RARE = RareClassesConfig(classes=(3, 4, 5), number=2, min_pixels=1, content="iteration")
PRESETS = ("image_gta5", "image_synthia", "image_acdc", "video_viper", "video_synthia_seq")
seeds = st.integers(0, 10**6)


def random_clip(
    seed: int, *, frames: int = 1, batch: int = 2, teacher: bool = False, void: bool = True
) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 7 if void else 6, (batch, frames, *SIZE), generator=generator)
    return Clip(
        torch.rand(batch, frames, 3, *SIZE, generator=generator),
        labels.masked_fill(labels == 6, 255),
        weight=torch.rand(batch, frames, *SIZE, generator=generator) if teacher else None,
        flow=torch.randn(batch, frames - 1, 2, *SIZE, generator=generator) if frames > 1 else None,
        confidence=torch.rand(batch, frames, *SIZE, generator=generator) if teacher else None,
    )


def random_patches(seed: int, batch: int = 2, sets: int = 1) -> tuple[Plan, Patches]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (sets, batch, 2, 3, *SIZE), generator=generator, dtype=torch.uint8)
    masks = torch.rand(sets, batch, 2, *SIZE, generator=generator) < 0.2
    return Plan(None, (3, 5)), Patches((3, 5), frames, masks)


def same(first: Clip, second: Clip) -> bool:
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Clip)]
    return all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in pairs)


def doubled(clip: Clip) -> Clip:
    """Two equal frames without motion."""
    twice = {
        f.name: part.repeat_interleave(2, 1)
        for f in fields(Clip)
        if (part := getattr(clip, f.name)) is not None and f.name != "flow"
    }
    return Clip(**twice, flow=torch.zeros(len(clip.labels), 1, 2, *clip.size))


def run(mixer: QuadMix, seed: int, source: Clip, target: Clip, templates: Templates, patches=None):
    plan = patches[0] if patches else None
    draws = mixer.draw(torch.Generator().manual_seed(seed), target, templates, plan)
    return draws, mixer.apply(draws, source, target, templates, patches[1] if patches else None)


@given(seeds, st.booleans(), st.sampled_from(["use", "store"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_video_that_stands_still_is_mixed_like_an_image(seed, rare_last, drawn, always):
    config = QuadMixConfig(rare=RARE, rare_last=rare_last, target_drawn=drawn, always_rare=always)
    mixer, patches = QuadMix(config), random_patches(seed)
    source, target = random_clip(seed), random_clip(seed + 1, teacher=True, void=False)
    classes = listed_classes([1, 2], 2) if drawn == "store" else None
    templates = Templates(random_clip(seed + 2), random_clip(seed + 3, teacher=True, void=False), classes)
    _, image = run(mixer, seed, source, target, templates, patches)
    moving = Templates(doubled(templates.source), doubled(templates.target), classes)
    _, video = run(mixer, seed, doubled(source), doubled(target), moving, patches)
    assert same(video.on_source, doubled(image.on_source))
    assert same(video.on_target, doubled(image.on_target))
    assert torch.equal(video.pasted, image.pasted)


@given(seeds, st.sampled_from([1, 2]))
@settings(max_examples=20, deadline=None)
def test_empty_and_full_masks(seed, frames):
    base, donor = (random_clip(seed + k, frames=frames, teacher=True) for k in range(2))
    shape = base.labels.shape
    nothing = paste(base, donor, torch.zeros(shape, dtype=torch.bool))
    everything = paste(base, donor, torch.ones(shape, dtype=torch.bool))
    assert same(nothing, replace(base, confidence=None))
    assert same(everything, replace(donor, confidence=None))


@pytest.mark.parametrize("left_out", DIRECTIONS)
def test_a_direction_that_is_left_out_pastes_nothing_and_the_others_go_on(left_out):
    left = [name for name in DIRECTIONS if name != left_out]
    source, target = random_clip(0), random_clip(1, teacher=True, void=False)
    templates = Templates(random_clip(2), random_clip(3, teacher=True, void=False))
    draws, mixed = run(QuadMix(QuadMixConfig(directions=left)), 4, source, target, templates)
    _, everything = run(QuadMix(QuadMixConfig()), 4, source, target, templates)
    origin, onto = left_out.split("_to_")
    other = "source" if onto == "target" else "target"
    assert same(getattr(mixed, f"on_{other}"), getattr(everything, f"on_{other}"))
    base = {"source": source, "target": target}[onto]
    if origin == "source":
        donor, mask = templates.target, QuadMix(QuadMixConfig()).template_mask(templates, draws)
    else:
        donor, mask = templates.source, class_mask(templates.source, draws.source_classes)
    assert same(getattr(mixed, f"on_{onto}"), paste(base, donor, mask))
    assert not same(getattr(mixed, f"on_{onto}"), getattr(everything, f"on_{onto}"))


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_every_pixel_comes_from_one_of_the_clips_with_its_label(seed):
    mixer, patches = QuadMix(QuadMixConfig(rare=RARE)), random_patches(seed)
    source, target = random_clip(seed), random_clip(seed + 1, teacher=True, void=False)
    templates = Templates(random_clip(seed + 2), random_clip(seed + 3, teacher=True, void=False))
    _, mixed = run(mixer, seed, source, target, templates, patches)
    for base, composite in ((source, mixed.on_source), (target, mixed.on_target)):
        known = torch.zeros(base.labels.shape, dtype=torch.bool)
        for part in (base, templates.source, templates.target):
            known |= (composite.frames == part.frames).all(2) & (composite.labels == part.labels)
        for place, class_id in enumerate(patches[1].classes):
            frames = patches[1].frames[0, :, place, None].float() / 255
            known |= (composite.frames == frames).all(2) & (composite.labels == class_id)
        assert known.all()


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_a_step_is_replayed_from_its_draws(seed):
    mixer, patches = QuadMix(QuadMixConfig(rare=RARE)), random_patches(seed)
    source, target = random_clip(seed), random_clip(seed + 1, teacher=True)
    templates = Templates(random_clip(seed + 2), random_clip(seed + 3, teacher=True))
    draws, mixed = run(mixer, seed, source, target, templates, patches)
    again, _ = run(mixer, seed, source, target, templates, patches)
    assert torch.equal(draws.source_classes, again.source_classes)
    assert torch.equal(draws.target_classes, again.target_classes)
    given_draws = Draws(draws.source_classes.clone(), draws.target_classes.clone(), draws.plan)
    replayed = mixer.apply(given_draws, source, target, templates, patches[1])
    assert same(replayed.on_source, mixed.on_source) and same(replayed.on_target, mixed.on_target)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("drawn", ["use", "store"])
def test_templates_survive_a_checkpoint(tmp_path, frames, drawn):
    mixer = QuadMix(QuadMixConfig(target_drawn=drawn))
    source, target = random_clip(0, frames=frames), random_clip(1, frames=frames, teacher=True)
    draws = mixer.draw(torch.Generator().manual_seed(0), target, None)
    templates = mixer.store(draws, source, target)
    torch.save(templates.state_dict(), tmp_path / "templates.pt")
    back = Templates.from_state_dict(torch.load(tmp_path / "templates.pt", weights_only=True))
    assert same(back.source, templates.source) and same(back.target, templates.target)
    later = mixer.draw(torch.Generator().manual_seed(1), target, templates)
    assert torch.equal(mixer.template_mask(back, later), mixer.template_mask(templates, later))
    assert (back.target_classes is None) == (drawn == "use")


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_classes_are_drawn_without_void_and_without_those_of_the_source(seed):
    source, target = random_clip(seed), random_clip(seed + 1)
    keys = torch.rand(2, 2, 256, generator=torch.Generator().manual_seed(seed))
    chosen = choose_source_classes(source.labels[:, 0], keys[0], 2)
    assert (chosen.sum(1) == 2).all() and not chosen[:, 255].any()
    assert not (chosen & ~present_classes(source.labels)).any()
    of_target = choose_target_classes(target.labels[:, 0], keys[1], 2, chosen)
    assert not (of_target & chosen).any() and not of_target[:, 255].any()
    assert (of_target.sum(1) <= 2).all()


def test_fewer_classes_than_wanted():
    labels = torch.tensor([[[2, 2]], [[2, 7]]])
    keys = torch.rand(2, 256)
    assert choose_source_classes(labels, keys, 2).sum(1).tolist() == [1, 2]
    excluded = listed_classes([2], 2)
    assert choose_target_classes(labels, keys, 2, excluded).sum(1).tolist() == [0, 1]


def test_void_is_drawn_as_executed_only():
    labels = torch.full((1, 2, 2), 255)
    assert not choose_source_classes(labels, torch.rand(1, 256), 2).any()
    assert choose_source_classes(labels, torch.rand(1, 256), 2, reference_compat=True)[0, 255]


def test_places_of_classes():
    labels = torch.tensor([[[4, 9, 9, 255]]])
    assert positions_of(listed_classes([9, 255], 1), labels)[0].nonzero()[:, 0].tolist() == [1, 2]


def test_class_mix_takes_half_of_the_classes_rounded_up():
    labels = torch.tensor([[[0, 1, 2]], [[3, 3, 3]]])
    keys = torch.rand(2, 256, generator=torch.Generator().manual_seed(0))
    assert choose_mixed_classes(labels, keys).sum(1).tolist() == [2, 1]
    assert choose_mixed_classes(labels, keys, reference_compat=True).sum(1).tolist() == [2, 2]


def test_only_sure_pixels_of_the_target_are_pasted():
    clip = random_clip(0, teacher=True)
    mask = class_mask(clip, torch.ones(2, 256, dtype=torch.bool), 0.9)
    assert torch.equal(mask, clip.confidence >= 0.9)


def test_patches_lie_below_or_above_the_target_template():
    source = random_clip(0)
    target = random_clip(1, teacher=True, void=False)
    sure = replace(
        target, labels=torch.full_like(target.labels, 1), confidence=torch.ones(target.labels.shape)
    )
    plan, patches = random_patches(0)
    patches = replace(patches, masks=torch.ones_like(patches.masks))
    for rare_last, expected in ((True, 5), (False, 1)):
        mixer = QuadMix(QuadMixConfig(rare=RARE, rare_last=rare_last))
        draws = Draws(torch.zeros(2, 256, dtype=torch.bool), listed_classes([1], 2), plan)
        mixed = mixer.apply(draws, source, target, Templates(source, sure), patches)
        assert (mixed.on_target.labels == expected).all() and (mixed.on_source.labels == expected).all()


def test_patches_weigh_one_but_as_executed_what_they_cover():
    source, target = random_clip(0), random_clip(1, teacher=True)
    templates = Templates(source, replace(target, confidence=torch.zeros(target.labels.shape)))
    plan, patches = random_patches(0)
    patches = replace(patches, masks=torch.ones_like(patches.masks))
    empty = torch.zeros(2, 256, dtype=torch.bool)
    for compat in (False, True):
        mixer = QuadMix(QuadMixConfig(rare=RARE, reference_compat=compat))
        weight = mixer.apply(Draws(empty, empty, plan), source, target, templates, patches).on_target.weight
        assert torch.equal(weight, target.weight if compat else torch.ones_like(weight))


def test_the_flow_follows_the_current_frame_but_as_executed_the_key_frame():
    base, donor = random_clip(0, frames=2), random_clip(1, frames=2)
    mask = torch.zeros(base.labels.shape, dtype=torch.bool)
    mask[:, 0, :4], mask[:, 1, 4:] = True, True
    for compat, part in ((False, slice(0, 4)), (True, slice(4, 8))):
        flow = paste(base, donor, mask, reference_compat=compat).flow
        assert torch.equal(flow[..., part, :], donor.flow[..., part, :])
        rest = slice(4, 8) if part.start == 0 else slice(0, 4)
        assert torch.equal(flow[..., rest, :], base.flow[..., rest, :])


def test_static_masks_add_up_as_executed_only():
    plan, patches = random_patches(0)
    patches = replace(patches, masks=torch.ones_like(patches.masks))
    clip = random_clip(0, frames=2)
    empty = torch.zeros(2, 256, dtype=torch.bool)
    templates = Templates(clip, clip, empty)
    for compat, count in ((False, 1), (True, 2)):
        config = QuadMixConfig(rare=RARE, target_drawn="store", reference_compat=compat)
        mixed = QuadMix(config).apply(Draws(empty, empty, plan), clip, clip, templates, patches)
        assert (mixed.static == count).all()


def test_windows_cut_the_source_to_the_target():
    config = QuadMixConfig(window=WindowConfig(size=(4, 6), rows=(2, 3)))
    large, small = random_clip(0, frames=2), random_clip(1, frames=2, teacher=True)
    corner = torch.tensor([0, 0])
    small = small.window(corner, corner, (4, 6))
    corners = draw_windows(torch.Generator().manual_seed(0), 500, SIZE, config.window)
    assert set(corners[:, 0].tolist()) == {2, 3} and set(corners[:, 1].tolist()) == set(range(7))
    empty = torch.zeros(2, 256, dtype=torch.bool)
    plan = Plan(torch.tensor([[2, 1], [3, 6]]))
    mixed = QuadMix(config).apply(Draws(empty, empty, plan), large, small, Templates(large, small))
    assert torch.equal(mixed.on_source.labels[0], large.labels[0, :, 2:6, 1:7])
    assert torch.equal(mixed.on_source.flow[1], large.flow[1, ..., 3:7, 6:12])


def test_windows_larger_than_the_frames_are_named():
    with pytest.raises(ConfigError, match="does not fit"):
        draw_windows(torch.Generator(), 1, SIZE, WindowConfig(size=(9, 6)))


def test_sizes_that_do_not_fit_are_named():
    clip = random_clip(0, teacher=True)
    other = random_clip(0, batch=1, teacher=True)
    empty = torch.zeros(2, 256, dtype=torch.bool)
    with pytest.raises(TrainingError, match="cannot mix"):
        QuadMix(QuadMixConfig()).apply(Draws(empty, empty), clip, clip, Templates(other, other))


def test_as_executed_patches_reach_the_network_as_in_the_original():
    patch = torch.rand(1, 3, 4, 5)
    expected = patch.flip(1) - torch.tensor([123.675, 116.28, 103.53])[:, None, None] / 255
    torch.testing.assert_close(normalise_imagenet(as_executed_colours(patch)), expected, atol=1e-5, rtol=1e-5)


def test_features_mix_inside_the_mask_only():
    source, target = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, :8] = True
    mixed = FeatureMix(source, mask).apply(target)
    torch.testing.assert_close(mixed[:, :, :2], torch.full((1, 2, 2, 4), 0.3))
    assert not mixed[:, :, 2:].any()


def test_strong_views_are_drawn_from_the_generator_and_keep_all_but_the_frames():
    clip = random_clip(0, frames=2, batch=6, teacher=True)
    config = StrongViewConfig(grey=0.3, sigma_choices=(1.0, 2.0))
    draws = [draw_view(torch.Generator().manual_seed(5), 6, config) for _ in range(2)]
    views = [strong_view(clip, d, config) for d in draws]
    assert torch.equal(views[0].frames, views[1].frames)
    assert same(replace(views[0], frames=clip.frames), clip)
    untouched = ~(draws[0].jitter | draws[0].grey | draws[0].blur)
    assert torch.equal(views[0].frames[untouched], clip.frames[untouched])
    assert set(draws[0].sigma.tolist()) <= {1.0, 2.0}
    shared = draw_view(torch.Generator().manual_seed(5), 6, StrongViewConfig(reference_compat=True))
    assert shared.jitter.unique().numel() == 1 and shared.blur.unique().numel() == 1


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_both_frames_of_a_clip_get_the_same_view(seed):
    clip = random_clip(seed, batch=3)
    config = StrongViewConfig(grey=0.5)
    draws = draw_view(torch.Generator().manual_seed(seed), 3, config)
    single, double = strong_view(clip, draws, config), strong_view(doubled(clip), draws, config)
    for frame in range(2):
        torch.testing.assert_close(double.frames[:, frame], single.frames[:, 0])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings(name):
    config = load_config(QuadMixConfig, f"quadmix/{name}", section="mixing")
    assert config.rare is not None
    assert (config.window is not None) == name.startswith("video")
    assert not config.reference_compat


def test_always_rare_needs_rare_classes():
    with pytest.raises(ConfigError, match="always_rare"):
        load_config(QuadMixConfig, always_rare=True)
