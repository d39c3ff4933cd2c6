"""One iteration of a training on images: losses on source, mixed and masked images, each with its backward pass.

Everything random is drawn first (:class:`ImageDraws`), so that an iteration can be replayed. Source: UDASS specification,
image 1 and 2.3 - 2.10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.data.mixing import NUM_IDS
from nolabel.labels import VOID
from nolabel.methods.quadmix.adversary import Adversary
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip, class_mask, half_of_each, paste
from nolabel.methods.quadmix.data import FILL
from nolabel.methods.quadmix.draws import Draws, Plan, choose_mixed_classes
from nolabel.methods.quadmix.feature_distance import feature_distance, thing_cells
from nolabel.methods.quadmix.losses import entropy_loss, pixel_accuracy, resolution_loss
from nolabel.methods.quadmix.masking import block_mask, draw_mask_grid, mask_images
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.patches import Patches
from nolabel.methods.quadmix.pseudo_label import PseudoLabelConfig, pseudo_labels
from nolabel.methods.quadmix.settings import AdaptationConfig, ImageConfig, MaskedConsistencyConfig
from nolabel.methods.quadmix.strong_view import ViewDraws, draw_view, strong_view
from nolabel.methods.quadmix.teacher import Teacher
from nolabel.models.segmentation import Box, FeatureSegmentor, Segmentor, TrainingOutputs

__all__ = ["ImageDraws", "ImageIteration", "IterationRecord"]

Backward = Callable[[Tensor], object]
LOOKS = ("source", "first", "second", "masked", "target")


@dataclass(frozen=True)
class ImageDraws:
    """All draws of an iteration on B source and B target images of one size.

    Attributes:
        boxes: detail windows for the looks at ``source``, the ``first`` and ``second`` mixed batch, ``masked`` and
            ``target`` images; None for networks without.
        views: strong views of the first and the second mixed batch, and of the masked one.
        mixed_classes: (B, 256) bool, of the source, for ClassMix; None with QuadMix.
        quad: of QuadMix; None without it.
        mask_grid: (B, 1, h, w), see :func:`~nolabel.methods.quadmix.masking.draw_mask_grid`.
    """

    boxes: Mapping[str, Box | None]
    views: tuple[ViewDraws, ViewDraws, ViewDraws] | None = None
    mixed_classes: Tensor | None = None
    quad: Draws | None = None
    mask_grid: Tensor | None = None


class IterationRecord(NamedTuple):
    """What an iteration did.

    losses: scalars without gradients by name (``source/fused``, ``on_source/detail``, ``feature_distance``,
        ``masked/accuracy``, ...); ``loss`` is the sum of what was minimised.
    samples: what the network saw: ``source``, ``target``, ``mixed`` or ``on_source`` and ``on_target``, ``masked``.
    templates: for the next iteration's QuadMix.
    """

    losses: dict[str, Tensor]
    samples: dict[str, Clip]
    templates: Templates | None


class ImageIteration:
    """The losses of a training on images.

    Args:
        config: settings.
        network: the student itself.
        module: the student as it is called in training (a wrapper for several devices, or the same).
        num_classes: of the label space.
        teacher: labels target images; None if no part of the training needs it.
        mask_teacher: labels the images that are masked, where they have a teacher of their own.
        reference: the frozen network with ImageNet's weights, for the feature distance.
        adversary: tells domains apart.
        precision: context of passes through the networks (Fabric's autocast): its wrapper gives it to ``forward`` only.
    """

    def __init__(
        self,
        config: ImageConfig,
        network: Segmentor,
        module: nn.Module | None = None,
        *,
        num_classes: int,
        teacher: Teacher | None = None,
        mask_teacher: Teacher | None = None,
        reference: FeatureSegmentor | None = None,
        adversary: Adversary | None = None,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.config, self.network, self.num_classes = config, network, num_classes
        self.module: Any = module if module is not None else network
        self.teacher, self.mask_teacher, self.reference = teacher, mask_teacher, reference
        self.adversary, self.precision = adversary, precision
        self.mixer = None if config.mixing is None else QuadMix(config.mixing)

    # --- before the losses ----------------------------------------------------------------------------------

    def label(self, images: Tensor, trusted: Tensor) -> Clip:
        """Return target images with the teacher's labels; where there is no teacher, void.

        Args:
            images: (B, 3, H, W) in [0, 1].
            trusted: (B, H, W) bool, see :class:`~nolabel.methods.quadmix.data.DomainPair`.
        """
        adaptation = self.config.adaptation
        if self.teacher is None or adaptation is None:
            return Clip.of_images(images, torch.full_like(trusted, VOID, dtype=torch.int64))
        return _labelled(self.teacher, images, trusted, adaptation.pseudo_labels)

    def draw(
        self,
        generator: torch.Generator,
        source: Clip,
        target: Clip,
        templates: Templates | None,
        plan: Plan | None = None,
    ) -> ImageDraws:
        """Draw everything.

        Args:
            generator: on the CPU.
            source: with true labels.
            target: with pseudo labels.
            templates: of the iteration before; None before QuadMix.
            plan: of the rare patches.
        """
        size, batch = source.size, len(source.labels)
        boxes = {look: self._draw_box(size, generator) for look in LOOKS}
        adaptation = self.config.adaptation
        if adaptation is None:
            return ImageDraws(boxes)
        config = adaptation.strong_view
        # As executed, both mixed batches share the decisions whether to change colours and blur.
        both = draw_view(generator, 2 * batch, config)
        views = (both.part(0, batch), both.part(batch, 2 * batch), draw_view(generator, batch, config))
        quad = mixed = None
        if self.mixer is not None:
            quad = self.mixer.draw(generator, target, templates, plan)
        if templates is None:
            keys = torch.rand(batch, NUM_IDS, generator=generator)
            compat = self.config.reference_compat
            mixed = choose_mixed_classes(source.labels[:, 0], keys, reference_compat=compat)
        grid = None
        if adaptation.masked is not None:
            grid = draw_mask_grid(generator, batch, size, adaptation.masked.mask)
        return ImageDraws(boxes, views, mixed, quad, grid)

    def _draw_box(self, size: tuple[int, int], generator: torch.Generator) -> Box | None:
        network = self.network
        return network.draw_box(size, generator) if isinstance(network, FeatureSegmentor) else None

    # --- the losses ------------------------------------------------------------------------------------------

    def run(
        self,
        draws: ImageDraws,
        source: Clip,
        target: Clip,
        backward: Backward,
        *,
        trusted: Tensor | None = None,
        templates: Templates | None = None,
        patches: Patches | None = None,
    ) -> IterationRecord:
        """Do all backward passes.

        Args:
            draws: of this iteration.
            source: with true labels.
            target: what :meth:`label` returned.
            backward: called with every loss; gradients add up.
            trusted: (B, H, W) bool, for a mask teacher.
            templates: of the iteration before.
            patches: those of ``draws.quad.plan``.

        Returns:
            What happened; its templates are those of the next iteration.
        """
        adaptation = self.config.adaptation
        losses: dict[str, Tensor] = {}
        samples = {"source": source, "target": target}
        total, scores = self._learn_source(draws.boxes["source"], source, backward, losses)
        if adaptation is None:
            return IterationRecord({"loss": total, **losses}, samples, None)
        mixed = self._mixed(draws, source, target, templates, patches)
        for look, (name, (clip, weight)) in zip(LOOKS[1:], mixed.items(), strict=False):
            samples[name] = clip
            total = total + self._learn(name, clip, draws.boxes[look], backward, losses, weight)
        masked = adaptation.masked
        if masked is not None:
            samples["masked"] = self._masked(adaptation, masked, draws, source, target, trusted)
            total = total + self._learn(
                "masked", samples["masked"], draws.boxes["masked"], backward, losses, factor=masked.weight
            )
        if adaptation.entropy_weight > 0 or self.adversary is not None:
            box = draws.boxes["target"]
            total = total + self._learn_target(adaptation, target, box, scores, backward, losses)
        kept = None
        if self.mixer is not None and draws.quad is not None:
            kept = self.mixer.store(draws.quad, source, target)
        return IterationRecord({"loss": total, **losses}, samples, kept)

    def _learn_source(
        self, box: Box | None, source: Clip, backward: Backward, losses: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Learn the source's labels, near the features of ImageNet; return the loss, and logits without gradients."""
        outputs = self._look(source.frames[:, 0], box)
        loss, parts = self._loss(outputs, source)
        losses |= {f"source/{name}": value for name, value in parts.items()}
        if self.config.feature_distance is not None and self.reference is not None:
            distance = self._feature_distance(outputs, source)
            losses["feature_distance"] = distance.detach()
            loss = loss + distance
        backward(loss)
        return loss.detach(), outputs.logits["fused"].detach()

    def _learn(
        self,
        name: str,
        clip: Clip,
        box: Box | None,
        backward: Backward,
        losses: dict[str, Tensor],
        weight: float = 1.0,
        *,
        factor: float = 1.0,
    ) -> Tensor:
        """Learn the labels of mixed or masked images; parts of the loss are logged with ``factor`` alone."""
        outputs = self._look(clip.frames[:, 0], box)
        loss, parts = self._loss(outputs, clip, factor)
        losses |= {f"{name}/{part}": value for part, value in parts.items()}
        loss = loss * weight
        backward(loss)
        return loss.detach()

    def _look(self, images: Tensor, box: Box | None) -> TrainingOutputs:
        if isinstance(self.network, FeatureSegmentor):
            with self.precision():
                return cast(TrainingOutputs, self.module.training_outputs(images, box))
        return TrainingOutputs({"fused": self.module(images).float()}, [])

    def _loss(
        self, outputs: TrainingOutputs, clip: Clip, factor: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of all resolutions, and its parts and the shares of right pixels without gradients."""
        box = outputs.box
        whole = clip.labels[:, 0], None if clip.weight is None else clip.weight[:, 0]
        labels = {"fused": whole[0], "context": whole[0]}
        weights = {"fused": whole[1], "context": whole[1]}
        if box is not None:
            labels["detail"] = box.of(whole[0])
            weights["detail"] = None if whole[1] is None else box.of(whole[1])
        shares = self.config.resolutions.model_dump() if len(outputs.logits) > 1 else {"fused": 1.0}
        compat = self.config.reference_compat
        loss, parts = resolution_loss(
            outputs.logits, labels, weights, shares=shares, factor=factor, reference_compat=compat
        )
        found = {name: value.detach() for name, value in parts.items()}
        for name in parts:
            mark = "accuracy" if name == "fused" else f"{name}_accuracy"
            found[mark] = _accuracy(outputs.logits[name], labels[name])
        return loss, found

    def _feature_distance(self, outputs: TrainingOutputs, source: Clip) -> Tensor:
        config = self.config.feature_distance
        assert config is not None and self.reference is not None
        images, labels = source.frames[:, 0], source.labels[:, 0]
        with torch.no_grad(), self.precision():
            if config.detail and outputs.box is not None:
                reference = self.reference.training_outputs(images, outputs.box)
                features, details = reference.features[-1], reference.detail_features
            else:
                features, details = self.reference.features(images)[-1], None

        def distance(own: Tensor, frozen: Tensor, shown: Tensor) -> Tensor:
            size = (own.shape[-2], own.shape[-1])
            cells = thing_cells(shown, size, config.classes, self.num_classes, config.min_share)
            return feature_distance(own, frozen, cells)

        total = distance(outputs.features[-1], features, labels)
        if details is not None and outputs.detail_features is not None and outputs.box is not None:
            total = total + distance(outputs.detail_features[-1], details[-1], outputs.box.of(labels))
        return config.weight * total

    def _mixed(
        self,
        draws: ImageDraws,
        source: Clip,
        target: Clip,
        templates: Templates | None,
        patches: Patches | None,
    ) -> dict[str, tuple[Clip, float]]:
        """Return the mixed batches by name, with the weights of their losses."""
        adaptation = self.config.adaptation
        assert adaptation is not None and draws.views is not None
        batches: dict[str, tuple[Clip, float]] = {}
        if draws.quad is not None and self.mixer is not None and templates is not None:
            made = self.mixer.apply(draws.quad, source, target, templates, patches)
            first, second = self.config.composite_weights
            batches = {"on_source": (made.on_source, first), "on_target": (made.on_target, second)}
        elif adaptation.class_mix and draws.mixed_classes is not None:
            mask = class_mask(source, draws.mixed_classes)
            batches = {"mixed": (paste(target, source, mask), 1.0)}
        return {
            name: (strong_view(clip, view, adaptation.strong_view), weight)
            for (name, (clip, weight)), view in zip(batches.items(), draws.views, strict=False)
        }

    def _masked(
        self,
        adaptation: AdaptationConfig,
        config: MaskedConsistencyConfig,
        draws: ImageDraws,
        source: Clip,
        target: Clip,
        trusted: Tensor | None,
    ) -> Clip:
        """Return images with hidden parts."""
        assert draws.views is not None and draws.mask_grid is not None
        if config.images != "source" and (self.mask_teacher is not None or config.pseudo_labels is not None):
            teacher = self.mask_teacher or self.teacher
            assert teacher is not None
            if trusted is None:
                trusted = torch.ones_like(target.labels[:, 0], dtype=torch.bool)
            labels = config.pseudo_labels or adaptation.pseudo_labels
            target = _labelled(teacher, target.frames[:, 0], trusted, labels)
        clip = {"source": source, "target": target}.get(config.images) or half_of_each(source, target)
        if config.augmented:
            clip = strong_view(clip, draws.views[2], adaptation.strong_view)
        kept = block_mask(draws.mask_grid.to(clip.frames.device), clip.size, config.mask)
        hidden = mask_images(clip.frames[:, 0], kept, torch.tensor(FILL))
        return Clip(hidden[:, None], clip.labels, clip.weight)

    def _learn_target(
        self,
        adaptation: AdaptationConfig,
        target: Clip,
        box: Box | None,
        source_scores: Tensor,
        backward: Backward,
        losses: dict[str, Tensor],
    ) -> Tensor:
        """Make the answers for target images sure (MinEnt), or such as those for source images (AdvSeg)."""
        scores = self._look(target.frames[:, 0], box).logits["fused"]
        parts: dict[str, Tensor] = {}
        if adaptation.entropy_weight > 0:
            half = (target.size[0] // 2, target.size[1] // 2)
            parts["entropy"] = adaptation.entropy_weight * entropy_loss(_resized(scores, half))
        # The discriminator looks at maps of the images' size, as in the original AdvSeg.
        scores, source_scores = (_resized(part, target.size) for part in (scores, source_scores))
        if self.adversary is not None and adaptation.adversarial is not None:
            parts["deception"] = adaptation.adversarial.weight * self.adversary.deception(scores)
        total = torch.stack(list(parts.values())).sum()
        backward(total)
        if self.adversary is not None:
            parts["discriminator"] = self.adversary.own_loss(source_scores, scores.detach())
            backward(parts["discriminator"])
        losses |= {name: value.detach() for name, value in parts.items()}
        return total.detach()


def _labelled(teacher: Teacher, images: Tensor, trusted: Tensor, config: PseudoLabelConfig) -> Clip:
    found = pseudo_labels(teacher.scores(images), config, trusted)
    return Clip.of_images(images, found.labels, found.weight, found.confidence)


@torch.no_grad()
def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return pixel_accuracy(_resized(logits, (labels.shape[-2], labels.shape[-1])), labels)


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
