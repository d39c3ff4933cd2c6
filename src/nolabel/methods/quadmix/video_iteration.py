"""One iteration of a training on video: labels moved through time, four mixing directions, and all losses.

What is random comes in as values, so that an iteration can be replayed. Source: UDASS specification (video) 5.3 to 5.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.geometry import resize_flow
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.class_vectors import class_vectors, maximum_mean_discrepancy, temporal_mean
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.draws import Draws
from nolabel.methods.quadmix.losses import pixel_cross_entropy
from nolabel.methods.quadmix.mixing import Composites, QuadMix
from nolabel.methods.quadmix.patches import Patches
from nolabel.methods.quadmix.video_labels import TemporalLabels, mirrored_scores, temporal_labels
from nolabel.methods.quadmix.video_settings import VideoConfig
from nolabel.methods.quadmix.video_views import VideoDraws, rescaled, student_view
from nolabel.models.video_segmentation import FeatureMix, TwoFrameScores, enlarge_corners

__all__ = ["IterationResult", "TargetClips", "VideoIteration"]

Backward = Callable[[Tensor], None]
ChooseClasses = Callable[[Clip, Templates | None], Draws]
"""Draws the classes of an iteration, given its pseudo-labelled target and the templates."""


@dataclass(frozen=True)
class TargetClips:
    """Unlabelled clips.

    Attributes:
        frames: (B, 4, 3, H, W) RGB in [0, 1]: d = t, c = t - 1, b = t - i, a = t - i - 1.
        flow: (B, 2, H, W) from the first letter's frame to the second's: ``dc``, ``db``, ``ba``; ``da`` with class
            vectors of both pairs; ``cb`` where c and b are different frames (i > 1).
    """

    frames: Tensor
    flow: Mapping[str, Tensor]


@dataclass
class IterationResult:
    """What an iteration found.

    Attributes:
        loss: weighted total; without history where parts went backward already.
        losses: single terms without their weights.
        templates: of the next iteration.
        labels: moved from the earlier frame.
        composites: that were trained on.
        scores: of the passes: ``source``, ``on_source``, ``on_target``, ``target`` (d and c as the student sees them),
            ``plain`` (d and a).
        vectors: of the classes: ``source``, ``target``, ``plain``, ``mean``.
    """

    loss: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    templates: Templates | None = None
    labels: TemporalLabels | None = None
    composites: Composites | None = None
    scores: dict[str, TwoFrameScores] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)


class VideoIteration:
    """The iterations of one training.

    Args:
        config: settings.
        student: the two-frame network in training, called like one.
        mixer: of the settings; None where nothing is mixed.
    """

    def __init__(self, config: VideoConfig, student: nn.Module, mixer: QuadMix | None = None) -> None:
        self.config, self.student, self.mixer = config, student, mixer

    def run(
        self,
        step: int,
        source: Clip,
        target: TargetClips | None = None,
        draws: VideoDraws | None = None,
        *,
        teacher: nn.Module | None = None,
        choose: ChooseClasses | None = None,
        templates: Templates | None = None,
        patches: Patches | None = None,
        viewed: Clip | None = None,
        backward: Backward | None = None,
        unsynchronised: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> IterationResult:
        """Compute the losses of an iteration.

        Args:
            step: number of the iteration, from which features are mixed.
            source: labelled clips of two frames in the target's colours, flow at the size of the frames.
            target: clips to adapt to.
            draws: for the target.
            teacher: labels the target; the student itself, as it is, by default.
            choose: draws the classes to mix.
            templates: of the iteration before; without them nothing is mixed yet.
            patches: of rare classes.
            viewed: frames d and c as the student sees them, where they were made before; from ``draws`` by default.
            backward: does a backward pass early, over the losses of the composites, so that their graphs are not kept
                beside all others. None: ``loss`` has the history of everything.
            unsynchronised: context without exchange of gradients between processes, for that pass.
        """
        config, temporal = self.config, self.config.temporal
        result = IterationResult(torch.zeros((), device=source.frames.device))
        mixes = self.mixer is not None and templates is not None
        with unsynchronised() if mixes and backward is not None else nullcontext():
            result.loss = self._source(source, result)
            if target is None or temporal is None or draws is None:
                return result
            plain = self._labelled(target, draws, teacher or self.student, result)
            view = (
                student_view(plain, draws, temporal)
                if viewed is None
                else replace(plain, frames=viewed.frames)
            )
            early = torch.zeros_like(result.loss)
            if self.mixer is not None and choose is not None:
                chosen = choose(plain, templates)
                if templates is not None:
                    result.composites = self.mixer.apply(chosen, source, view, templates, patches)
                    early = self._composites(result.composites, step, result)
                result.templates = self.mixer.store(chosen, source, plain)
            if backward is not None and early.requires_grad:
                backward(early)
                early = early.detach()
        result.loss = result.loss + early + temporal.weight * self._target(target, view, draws, result)
        if config.class_vectors is not None:
            result.loss = result.loss + config.class_vectors.weight * self._discrepancy(target, result)
        return result

    def _source(self, source: Clip, result: IterationResult) -> Tensor:
        """Learn from true labels."""
        config, size = self.config, source.size
        assert source.flow is not None
        frames, flow = source.frames, source.flow[:, 0]
        if config.source_resize is not None and config.source_resize != size:
            resized = F.interpolate(
                frames.flatten(0, 1), config.source_resize, mode="bilinear", align_corners=True
            )
            frames = resized.unflatten(0, frames.shape[:2])
            # As executed, its vectors stay as long as they are.
            if config.reference_compat:
                flow = F.interpolate(flow, config.source_resize, mode="bilinear", align_corners=True)
            else:
                flow = resize_flow(flow, config.source_resize)
        scores = self.student(frames[:, 0], frames[:, 1], flow)
        labels = source.labels[:, 0]
        result.scores["source"] = scores
        loss = self._both_heads("source", scores, labels, labels, result)
        if config.class_vectors is not None:
            grid = scores.main.shape[-2:]
            coarse = F.interpolate(labels[:, None].float(), grid, mode="nearest")[:, 0].long()
            least = config.class_vectors.min_pixels
            result.vectors["source"] = class_vectors(scores.main, coarse, min_pixels=least)
        return loss

    def _labelled(
        self, target: TargetClips, draws: VideoDraws, teacher: nn.Module, result: IterationResult
    ) -> Clip:
        """Return the clip (d, c) with labels that the teacher found in (b, a)."""
        assert self.config.temporal is not None
        compat = self.config.temporal.reference_compat
        _, _, earlier, before = target.frames.unbind(1)
        with torch.no_grad():
            scores = mirrored_scores(
                teacher,
                earlier,
                before,
                target.flow["ba"],
                draws.mirrored,
                reference_compat=compat,
            )
        result.labels = labels = temporal_labels(
            scores, draws.mirrored, target.flow["db"], target.flow.get("cb"), reference_compat=compat
        )
        return Clip(
            target.frames[:, :2],
            labels.labels,
            flow=target.flow["dc"][:, None],
            confidence=labels.confidence,
        )

    def _composites(self, mixed: Composites, step: int, result: IterationResult) -> Tensor:
        """Learn from what was mixed; the motion follows the patches."""
        config, features = self.config, self.config.mixing and self.config.mixing.feature_mix
        assert config.temporal is not None
        mix = None
        for name, clip in (("on_source", mixed.on_source), ("on_target", mixed.on_target)):
            assert clip.flow is not None
            scores = self.student(
                clip.frames[:, 0],
                clip.frames[:, 1],
                clip.flow[:, 0],
                size=clip.size,
                static=mixed.static,
                mix=mix,
            )
            result.scores[name] = scores
            result.losses[name] = pixel_cross_entropy(scores.main, clip.labels[:, 0], mean_over="labelled")
            if features and step >= features.start:
                mix = FeatureMix(scores.current.feature, mixed.pasted, features.weight)
        on_source, on_target = config.composite_weights
        return (
            on_source * result.losses["on_source"]
            + config.temporal.weight * on_target * result.losses["on_target"]
        )

    def _target(self, target: TargetClips, view: Clip, draws: VideoDraws, result: IterationResult) -> Tensor:
        """Learn the labels that were moved from the earlier frame."""
        current, key = (rescaled(frame, draws.scale) for frame in view.frames.unbind(1))
        scores = self.student(current, key, target.flow["dc"])
        result.scores["target"] = scores
        assert result.labels is not None
        coarse, auxiliary = result.labels.coarse, result.labels.coarse_auxiliary
        return self._both_heads("target", scores, coarse, coarse if auxiliary is None else auxiliary, result)

    def _discrepancy(self, target: TargetClips, result: IterationResult) -> Tensor:
        """Compare the classes' mean scores in source and target."""
        settings = self.config.class_vectors
        assert settings is not None
        vectors = result.vectors
        vectors["target"] = class_vectors(result.scores["target"].main, min_pixels=settings.min_pixels)
        vectors["mean"] = vectors["target"]
        if settings.both_pairs:
            first, _, _, last = target.frames.unbind(1)
            result.scores["plain"] = self.student(first, last, target.flow["da"])
            vectors["plain"] = class_vectors(result.scores["plain"].main, min_pixels=settings.min_pixels)
            vectors["mean"] = temporal_mean(vectors["target"], vectors["plain"])
        result.losses["class_vectors"] = maximum_mean_discrepancy(vectors["source"], vectors["mean"])
        return result.losses["class_vectors"]

    def _both_heads(
        self,
        name: str,
        scores: TwoFrameScores,
        labels: Tensor,
        auxiliary_labels: Tensor,
        result: IterationResult,
    ) -> Tensor:
        """Return the cross entropy of the main head, and of the second where there is one."""
        loss = result.losses[name] = _cross_entropy(scores.main, labels)
        if scores.auxiliary is None:
            return loss
        second = result.losses[f"{name}_auxiliary"] = _cross_entropy(scores.auxiliary, auxiliary_labels)
        return loss + self.config.auxiliary_weight * second


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    enlarged = enlarge_corners(scores.float(), (labels.shape[-2], labels.shape[-1]))
    return pixel_cross_entropy(enlarged, labels, mean_over="labelled")
