"""QuadMix: source and target templates are pasted onto source and target, in all four directions.

Two composites grow from the samples of an iteration: one on the source (S->S, T->S), one on the target (S->T, T->T).
Source: UDASS specification, image 2.6, video 5.6; common, section 2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from nolabel.data import mixing
from nolabel.errors import TrainingError
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip, class_mask, paste
from nolabel.methods.quadmix.draws import (
    Draws,
    Plan,
    choose_source_classes,
    choose_target_classes,
    class_keys,
    positions_of,
    source_table,
)
from nolabel.methods.quadmix.mixing_config import QuadMixConfig
from nolabel.methods.quadmix.patches import Patches

__all__ = ["Composites", "QuadMix"]


class Composites(NamedTuple):
    """What an iteration trains on besides its plain samples."""

    on_source: Clip
    """Grown on the source (TSS)."""
    on_target: Clip
    """Grown on the target (TST)."""
    static: Tensor | None
    """(B, H, W) 1 where shared rare patches lie, which do not move; None if every composite has its own or none."""
    pasted: Tensor
    """(B, H, W) bool: where something was pasted into the current frame; the mask of
    :class:`~nolabel.models.video_segmentation.FeatureMix`."""


class QuadMix:
    """The mixing of one training.

    An iteration is ``draws = mixer.draw(...)``, ``composites = mixer.apply(draws, ...)``,
    ``templates = mixer.store(draws, ...)``. Only the first is random.

    Args:
        config: settings.
    """

    def __init__(self, config: QuadMixConfig) -> None:
        self.config = config

    def draw(
        self,
        generator: torch.Generator,
        target: Clip,
        templates: Templates | None,
        plan: Plan | None = None,
    ) -> Draws:
        """Draw the classes of an iteration.

        Args:
            generator: source of the draws.
            target: this iteration's, with pseudo labels.
            templates: of the iteration before; None in the first one.
            plan: drawn before (:meth:`nolabel.methods.quadmix.patches.PatchBank.draw`).
        """
        config, batch = self.config, len(target.labels)
        for_source, for_target = class_keys(generator, batch)
        chosen = torch.zeros(batch, 256, dtype=torch.bool, device=target.labels.device)
        excluded = chosen
        if templates is not None:
            labels = templates.source.labels[:, 0]
            chosen = choose_source_classes(
                labels, for_source, config.source_classes, reference_compat=config.reference_compat
            )
            excluded = self._excluded(chosen, labels)
        to_paste = templates.target if templates is not None and config.target_drawn == "use" else target
        of_target = choose_target_classes(to_paste.labels[:, 0], for_target, config.target_classes, excluded)
        return Draws(chosen, of_target, plan or Plan())

    def apply(
        self,
        draws: Draws,
        source: Clip,
        target: Clip,
        templates: Templates,
        patches: Patches | None = None,
    ) -> Composites:
        """Make the composites.

        Args:
            draws: of this iteration.
            source: with true labels, at the size of the target or larger (see :class:`WindowConfig`).
            target: with pseudo labels, their weight and confidence; its frames may be augmented.
            templates: of the iteration before.
            patches: of the rare classes, those of ``draws.plan``.

        Raises:
            TrainingError: the sizes do not fit.
        """
        config = self.config
        source, donor = (self._window(clip, draws) for clip in (source, templates.source))
        self._check(source, target, donor, templates.target)
        mask = class_mask(donor, source_table(draws.source_classes, config))
        template_mask = self.template_mask(templates, draws)
        composites = [
            self._paste("source", name, base, donor, mask)
            for name, base in (("source", source), ("target", target))
        ]
        for rare in (False, True) if config.rare_last else (True, False):
            for index, (name, composite) in enumerate(zip(("source", "target"), composites, strict=True)):
                if not rare:
                    composites[index] = self._paste(
                        "target", name, composite, templates.target, template_mask
                    )
                elif patches is not None:
                    composites[index] = self._paste_patches(composite, patches, index)
        static = None if patches is None or len(patches.masks) > 1 else self._static(patches)
        pasted = mask[:, 0] | (
            class_mask(target, draws.target_classes, config.min_confidence)[:, 0]
            # As executed, features are mixed where the template of the next iteration will be taken from.
            if config.reference_compat and config.target_drawn == "store"
            else template_mask[:, 0]
        )
        if static is not None:
            pasted = pasted | (static > 0)
        return Composites(composites[0], composites[1], static, pasted)

    def store(self, draws: Draws, source: Clip, target: Clip) -> Templates:
        """Return the templates of the next iteration.

        Args:
            draws: of this iteration.
            source: of this iteration, at full size.
            target: of this iteration, not augmented, with pseudo labels, weight and confidence.
        """
        at_store = self.config.target_drawn == "store"
        return Templates(source.detach(), target.detach(), draws.target_classes if at_store else None)

    def template_mask(self, templates: Templates, draws: Draws | None = None) -> Tensor:
        """Return (B, T, H, W) bool: what is pasted of the target template.

        Args:
            templates: they hold the classes if these were drawn when they were kept.
            draws: hold them otherwise.
        """
        classes = templates.target_classes
        if classes is None:
            assert draws is not None, "the target's classes are drawn at use"
            classes = draws.target_classes
        return class_mask(templates.target, classes, self.config.min_confidence)

    def _excluded(self, chosen: Tensor, labels: Tensor) -> Tensor:
        """What the target template must not show: the classes pasted from the source."""
        if self.config.reference_compat and self.config.target_drawn == "use":
            # As executed for images, ids are compared with places in the list of classes.
            return positions_of(chosen, labels)
        return chosen

    def _window(self, clip: Clip, draws: Draws) -> Clip:
        window = self.config.window
        if window is None or draws.plan.window is None:
            return clip
        top, left = draws.plan.window.unbind(1)
        return clip.window(top, left, window.size)

    def _paste(self, origin: str, onto: str, base: Clip, template: Clip, mask: Tensor) -> Clip:
        """Paste a template onto a composite, if this direction is among those of the settings."""
        if f"{origin}_to_{onto}" not in self.config.directions:
            # What is pasted onto anything has no confidences any more.
            return replace(base, confidence=None)
        return paste(base, template, mask, reference_compat=self.config.reference_compat)

    def _paste_patches(self, composite: Clip, patches: Patches, index: int) -> Clip:
        """Paste the rare classes one after the other into all frames of a composite."""
        # As executed for images, patches come in other colours, and pixels keep the weight of what they cover.
        quirks = self.config.reference_compat and composite.labels.shape[1] == 1
        own = patches.of(min(index, len(patches.masks) - 1), reference_compat=quirks)
        frames, labels, weight = composite.frames, composite.labels, composite.weight
        for place, class_id in enumerate(patches.classes):
            mask = own.masks[:, place, None]
            frames = mixing.paste(mask, own.frames[:, place, None].to(frames.dtype), frames)
            labels = labels.masked_fill(mask, class_id)
            if weight is not None and not quirks:
                weight = weight.masked_fill(mask, 1)
        return replace(composite, frames=frames, labels=labels, weight=weight)

    def _static(self, patches: Patches) -> Tensor:
        counts = patches.masks[0].sum(1).float()
        # As executed, the masks of patches that lie over each other add up.
        return counts if self.config.reference_compat else counts.clamp(max=1)

    def _check(self, source: Clip, target: Clip, *templates: Clip) -> None:
        for clip in (source, *templates):
            if clip.labels.shape != target.labels.shape:
                raise TrainingError(
                    f"QuadMix cannot mix clips of {tuple(clip.labels.shape)} and {tuple(target.labels.shape)}",
                    hint="batch, frames, height and width of source, target and templates have to be equal",
                )
