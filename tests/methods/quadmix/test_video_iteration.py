"""The parts of an iteration on video, by their definitions."""

from dataclasses import replace

import pytest
import torch

from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import QuadMixConfig
from nolabel.methods.quadmix.video_iteration import TargetClips, VideoIteration
from nolabel.methods.quadmix.video_labels import temporal_labels
from nolabel.methods.quadmix.video_settings import VideoConfig
from nolabel.methods.quadmix.video_views import draw_video
from nolabel.models.video_segmentation import FrameScores, TwoFrameScores, build_video_segmentor

CLASSES, SIZE = 4, (24, 32)
MIXING = QuadMixConfig(start=1, target_drawn="store", min_confidence=0.0)


def scores_of(main):
    alone = FrameScores(main, None, main)
    return TwoFrameScores(main, None, alone, alone)


def still(generator, batch=2):
    """A clip of two equal frames without motion."""
    frame = torch.rand(batch, 1, 3, *SIZE, generator=generator).expand(-1, 2, -1, -1, -1)
    labels = torch.randint(CLASSES, (batch, 1, *SIZE), generator=generator).expand(-1, 2, -1, -1)
    return Clip(frame.clone(), labels.clone(), flow=torch.zeros(batch, 1, 2, *SIZE))


def current(clip):
    """The same as clips of one frame."""
    confidence = None if clip.confidence is None else clip.confidence[:, :1]
    return replace(
        clip, frames=clip.frames[:, :1], labels=clip.labels[:, :1], flow=None, confidence=confidence
    )


def test_without_motion_the_video_iteration_mixes_as_images_are_mixed():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    config = VideoConfig(mixing=MIXING, reference_compat=False)
    student = build_video_segmentor("accel_deeplab_tiny", CLASSES)
    source, kept = still(generator), still(generator)
    target = TargetClips(
        still(generator).frames[:, :1].expand(-1, 4, -1, -1, -1).clone(),
        {name: torch.zeros(2, 2, *SIZE) for name in ("dc", "db", "da", "ba")},
    )
    mixer = QuadMix(MIXING)
    wanted = torch.zeros(2, 256, dtype=torch.bool)
    wanted[:, :2] = True
    templates = Templates(kept, replace(still(generator), confidence=torch.ones(2, 2, *SIZE)), wanted)
    seen = {}

    def choose(labelled, before):
        seen["target"], seen["draws"] = (
            labelled,
            mixer.draw(torch.Generator().manual_seed(1), labelled, before),
        )
        return seen["draws"]

    assert config.temporal is not None
    draws = draw_video(generator, 2, config.temporal)
    result = VideoIteration(config, student, mixer).run(
        3, source, target, draws, choose=choose, templates=templates
    )
    mixed = result.composites
    assert mixed is not None
    images = mixer.apply(
        seen["draws"],
        current(source),
        current(seen["target"]),
        Templates(current(templates.source), current(templates.target), wanted),
    )
    for video, image in ((mixed.on_source, images.on_source), (mixed.on_target, images.on_target)):
        for frame in range(2):
            assert torch.equal(video.frames[:, frame], image.frames[:, 0])
            assert torch.equal(video.labels[:, frame], image.labels[:, 0])
        assert video.flow is not None
        assert not video.flow.any()
    assert torch.equal(mixed.pasted, images.pasted)
    assert not torch.equal(mixed.on_source.labels, source.labels)
    assert result.loss.requires_grad
    assert torch.isfinite(result.loss)


def test_an_early_backward_pass_gives_the_same_gradients():
    config = VideoConfig(mixing=MIXING)
    assert config.temporal is not None
    found = []
    for early in (False, True):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        student = build_video_segmentor("accel_deeplab_tiny", CLASSES, dropout=0.0)
        mixer = QuadMix(MIXING)
        flow = {name: torch.zeros(2, 2, *SIZE) for name in ("dc", "db", "da", "ba")}
        target = TargetClips(torch.rand(2, 4, 3, *SIZE, generator=generator), flow)
        templates = Templates(still(generator), replace(still(generator), confidence=torch.ones(2, 2, *SIZE)))
        draws = draw_video(generator, 2, config.temporal)
        result = VideoIteration(config, student, mixer).run(
            1,
            still(generator),
            target,
            draws,
            choose=lambda labelled, before, mixer=mixer: mixer.draw(
                torch.Generator().manual_seed(1), labelled, before
            ),
            templates=replace(templates, target_classes=torch.ones(2, 256, dtype=torch.bool)),
            backward=torch.Tensor.backward if early else None,
        )
        result.loss.backward()
        found.append((result.loss.detach(), [p.grad for p in student.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0][0], found[1][0])
    for first, second in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_labels_follow_the_motion_mirrored_or_not(mirrored):
    """Everything moves three pixels to the right between the earlier and the current frame."""
    generator = torch.Generator().manual_seed(2)
    earlier = 5 * torch.randn(1, CLASSES, *SIZE, generator=generator)
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, 0] = -3
    turned = torch.tensor([mirrored])
    seen = earlier.flip(-1) if mirrored else earlier
    labels = temporal_labels(scores_of(seen), turned, flow)
    expected = earlier.argmax(1)
    assert torch.equal(labels.labels[:, 0, :, 3:], expected[..., :-3])
    assert torch.equal(labels.labels[:, 1], expected)
    assert torch.equal(labels.coarse, labels.labels[:, 0])
    assert (labels.confidence <= 1).all()
    executed = temporal_labels(scores_of(seen), turned, flow, reference_compat=True)
    # Quirk B: what was mirrored moves the wrong way.
    assert torch.equal(executed.labels[:, 0, :, 3:], expected[..., :-3]) is not mirrored
    # Quirk C: raw scores of the key frame.
    torch.testing.assert_close(executed.confidence[:, 1], earlier.max(1).values)


def test_the_key_frame_has_motion_of_its_own():
    generator = torch.Generator().manual_seed(2)
    earlier = torch.randn(1, CLASSES, *SIZE, generator=generator)
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, 1] = 2
    labels = temporal_labels(scores_of(earlier), torch.tensor([False]), 2 * flow, flow)
    expected = earlier.argmax(1)
    assert torch.equal(labels.labels[:, 0, :-4], expected[:, 4:])
    assert torch.equal(labels.labels[:, 1, :-2], expected[:, 2:])
