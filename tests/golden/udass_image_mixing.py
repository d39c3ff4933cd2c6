"""UDASS images: ClassMix, blur, jitter, QuadMix, masks, pseudo labels against the reference's recorded cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.support import case_parameters, cases, load_json, load_npz
from nolabel.data.mixing import present_classes
from nolabel.data.photometric import ColourFactors, gaussian_blur, jitter_colours, reference_kernel_size
from nolabel.data.resizing import resize_image, resize_labels
from nolabel.labels import raw_table
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip, class_mask, paste
from nolabel.methods.quadmix.draws import (
    Draws,
    PatchDraw,
    Plan,
    choose_mixed_classes,
    choose_source_classes,
    choose_target_classes,
    positions_of,
)
from nolabel.methods.quadmix.masking import MaskConfig, block_mask, mask_images
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import QuadMixConfig, RareClassesConfig
from nolabel.methods.quadmix.patches import PatchBank, Patches
from nolabel.methods.quadmix.pseudo_label import PseudoLabelConfig, pseudo_labels
from nolabel.models.segmentation.normalise import DEVIATION, MEAN, normalise_imagenet

pytestmark = pytest.mark.golden

BLUR = 1e-5  # tolerances of the folder's README
JITTER = 1e-5
HUE_AT_GREYS = 1e-3
PATCHES = 0.004  # one grey level after the division by 255
WEIGHT = 1e-6
MIXED = 1e-5
JITTER_GATE, BLUR_GATE = 0.2, 0.5  # of the specification, 2.7


def arrays(path: Path) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    inputs = {name: torch.from_numpy(array) for name, array in load_npz(path / "input.npz").items()}
    return inputs, load_npz(path / "output.npz")


def keys_for(positions: list[list[int]], present: Tensor) -> Tensor:
    """Keys that make the ids at given positions of the ascending lists the first ones to be chosen."""
    keys = torch.ones(present.shape)
    for row, places, there in zip(keys, positions, present, strict=True):
        row[there.nonzero()[:, 0][places]] = 0
    return keys


def drawn(meta: dict[str, Any]) -> Iterator[Any]:
    return iter([entry["value"] for entry in meta["draws"]])


@pytest.mark.parametrize("case", case_parameters("udass_image", "class_mix"))
def test_class_mix(case: Path) -> None:
    inputs, recorded = arrays(case)
    labels = inputs["src_lbl"][:, 0]
    whole = present_classes(labels).any(0, keepdim=True).expand(len(labels), -1)
    # In DACS' ClassMix the largest keys are chosen.
    keys = 1 - keys_for(list(drawn(load_json(case / "meta.json"))), whole)
    chosen = choose_mixed_classes(labels, keys, reference_compat=True)
    source = Clip.of_images(inputs["src_img"], labels)
    target = Clip.of_images(inputs["trg_img"], inputs["pseudo_label"], inputs["pseudo_weight"])
    mask = class_mask(source, chosen)
    mixed = paste(target, source, mask)
    np.testing.assert_array_equal(mask.numpy(), recorded["mask"])
    np.testing.assert_array_equal(mixed.frames[:, 0], recorded["mixed_img"])
    np.testing.assert_array_equal(mixed.labels, recorded["mixed_lbl"])
    assert mixed.weight is not None
    np.testing.assert_array_equal(mixed.weight[:, 0], recorded["mixed_weight"])


@pytest.mark.parametrize("case", case_parameters("udass_image", "gaussian_blur"))
@pytest.mark.parametrize("compat", [True, False])
def test_gaussian_blur(case: Path, compat: bool) -> None:
    inputs, recorded = arrays(case)
    sigma = torch.full((len(inputs["image"]),), load_json(case / "meta.json")["sigma"])
    blurred = gaussian_blur(inputs["image"], sigma, reference_compat=compat)
    np.testing.assert_allclose(blurred, recorded["blurred"], atol=BLUR)
    for length, size in recorded["kernel_size_table"].tolist():
        assert reference_kernel_size(length) == size
    sizes = [reference_kernel_size(length) for length in inputs["image"].shape[-2:]]
    assert sizes == recorded["kernel_size_yx"].tolist()


@pytest.mark.parametrize("case", case_parameters("udass_image", "color_jitter"))
@pytest.mark.parametrize(("version", "convention"), [("v058", "additive"), ("v073", "multiplicative")])
def test_colour_jitter(case: Path, version: str, convention: Any) -> None:
    inputs = {name: torch.from_numpy(array) for name, array in load_npz(case / "input.npz").items()}
    recorded = load_npz(case / f"output_{version}.npz")
    names = ("brightness", "contrast", "saturation", "hue")
    factors = ColourFactors(*(inputs[name] for name in names))
    runs = {name: [place] for place, name in enumerate(names)} | {"all": inputs["order"].tolist()}
    image = inputs["image01"]
    greys = (image.amax(1) == image.amin(1)).numpy()
    for name, order in runs.items():
        error = np.abs(jitter_colours(image, factors, order, convention=convention).numpy() - recorded[name])
        assert error.max(1)[~greys].max() <= JITTER, name
        assert error.max() <= HUE_AT_GREYS, name


class RecordedFrames:
    """The patch sources of a case, read as the training reads its source."""

    def __init__(self, inputs: dict[str, Tensor], meta: dict[str, Any]) -> None:
        self.inputs, self.size = inputs, (meta["resize_wh"][1], meta["resize_wh"][0])
        self.number = meta["n_files"]

    def __len__(self) -> int:
        return self.number

    def labels(self, index: int) -> Tensor:
        raw = self.inputs[f"patch_raw_lbl{index}"].numpy()
        return resize_labels(torch.from_numpy(raw_table("gta5", "cityscapes_19")[raw]), self.size)

    def image(self, index: int) -> Tensor:
        return resize_image(self.inputs[f"patch_img{index}"].permute(2, 0, 1), self.size)


def recorded_patches(
    bank: PatchBank, classes: list[int], draws: Iterator[Any], batch: int, blurred: bool
) -> tuple[Plan, Patches, list[float]]:
    """Replay the reader: tries with too few pixels are rejected; after each composite its blur is drawn."""
    patches, sigmas = [], []
    for _ in range(2 * batch):
        for class_id in classes:
            while True:
                frame, left, top = int(Path(next(draws)[0]).stem), next(draws), next(draws)
                patch = PatchDraw(frame, top, left)
                pixels = int((bank._cut(bank.labels(frame), patch) == class_id).sum())
                if pixels > bank.rare.least(class_id):
                    break
            patches.append(patch)
        if blurred:
            sigmas.append(next(draws))
    plan = Plan(None, tuple(classes), tuple(patches))
    return plan, bank.read(plan), sigmas


@pytest.mark.parametrize(
    "case",
    [*case_parameters("udass_image", "quad_mix"), *case_parameters("udass_image", "quad_mix_edge")],
)
def test_quad_mix(case: Path) -> None:
    inputs, recorded = arrays(case)
    meta = load_json(case / "meta.json")
    assert meta["gate_jitter"] <= JITTER_GATE, "the case has jitter, whose draws are not recorded"
    blurred = meta["gate_blur"] > BLUR_GATE
    rare = RareClassesConfig(classes=tuple(meta["rare_list"]), min_pixels=meta["min_pixels"])
    config = QuadMixConfig(rare=rare, reference_compat=True)
    draws = drawn(meta)
    batch = len(inputs["src_img"])

    source = Clip.of_images(inputs["src_img"], inputs["src_lbl"][:, 0])
    target = Clip.of_images(inputs["trg_img"], inputs["pseudo_label"], inputs["pseudo_weight"])
    confidence = inputs["bank_confident"].float()
    templates = Templates(
        Clip.of_images(inputs["bank_src_img"], inputs["bank_src_lbl"][:, 0]),
        Clip.of_images(
            inputs["bank_trg_img"], inputs["bank_pseudo_label"], inputs["bank_pseudo_weight"], confidence
        ),
    )
    donor, target_donor = templates.source.labels[:, 0], templates.target.labels[:, 0]
    places = [next(draws) for _ in range(batch)]
    keys = keys_for(places, present_classes(donor))
    chosen = choose_source_classes(donor, keys, config.source_classes, reference_compat=True)
    excluded = positions_of(chosen, donor)
    for row, place in zip(excluded, recorded["src_class_index"].tolist(), strict=True):
        assert row.nonzero()[:, 0].tolist() == sorted(place)
    classes = next(draws)
    assert classes == recorded["rare_classes"].tolist()
    left = present_classes(target_donor) & ~excluded
    target_places = [next(draws) if row.any() else [] for row in left]
    of_target = choose_target_classes(
        target_donor, keys_for(target_places, left), config.target_classes, excluded
    )
    frames = RecordedFrames(inputs, meta)
    index = {
        int(c): torch.tensor([int(Path(name).stem) for name in names])
        for c, names in meta["ids2path"].items()
    }
    height, width = meta["crop_hw"]
    bank = PatchBank(frames, index, rare, (height, width))
    plan, patches, sigmas = recorded_patches(bank, classes, draws, batch, blurred)
    assert next(draws, None) is None

    as_pasted = torch.cat([patches.of(k, reference_compat=True).frames.flatten(0, 1) for k in range(2)])
    mean = torch.tensor(MEAN)[:, None, None] / 255
    in_network = (as_pasted - mean) / (torch.tensor(DEVIATION)[:, None, None] / 255)
    np.testing.assert_allclose(in_network, recorded["patch_norm_img"], atol=PATCHES)
    ids = torch.tensor(classes).repeat(2 * batch)[:, None, None]
    np.testing.assert_array_equal(
        patches.masks.flatten(0, 2), torch.from_numpy(recorded["patch_train_lbl"]) == ids
    )

    mixer = QuadMix(config)
    step = Draws(chosen, of_target, plan)
    np.testing.assert_array_equal(class_mask(templates.source, chosen), recorded["mask_src"])
    np.testing.assert_array_equal(mixer.template_mask(templates, step), recorded["mask_trg"])
    for name, base in (("ss", source), ("st", target)):
        half = paste(base, templates.source, class_mask(templates.source, chosen))
        np.testing.assert_array_equal(half.labels[:, 0], recorded[f"{name}_lbl"])
        if f"{name}_img" in recorded:
            np.testing.assert_array_equal(half.frames[:, 0], recorded[f"{name}_img"])
        if f"{name}_weight" in recorded:
            assert half.weight is not None
            np.testing.assert_array_equal(half.weight[:, 0], recorded[f"{name}_weight"])

    # The case's images are normalised already; those of the package are not, nor are its patches.
    unnormalised = [
        Clip(
            c.frames * mean.new_tensor(DEVIATION)[:, None, None] / 255 + mean,
            c.labels,
            c.weight,
            None,
            c.confidence,
        )
        for c in (source, target, templates.source, templates.target)
    ]
    templates = Templates(*unnormalised[2:])
    mixed = mixer.apply(step, unnormalised[0], unnormalised[1], templates, patches)
    for place, (name, composite) in enumerate((("tss", mixed.on_source), ("tst", mixed.on_target))):
        images = composite.frames[:, 0]
        if blurred:
            sigma = torch.tensor(sigmas[place * batch : (place + 1) * batch])
            images = gaussian_blur(images, sigma)
        error = np.abs(normalise_imagenet(images).numpy() - recorded[f"{name}_img"])
        near_patch = patches.masks[place].any(1).numpy()
        if blurred:
            near_patch = np.ones_like(near_patch)  # blur spreads their rounding
        assert error.max(1)[near_patch].max(initial=0) <= PATCHES
        assert error.max(1)[~near_patch].max(initial=0) <= MIXED
        np.testing.assert_array_equal(composite.labels, recorded[f"{name}_lbl"])
        if composite.weight is None:
            composite = Clip(composite.frames, composite.labels, torch.ones(composite.labels.shape))
        np.testing.assert_array_equal(composite.weight[:, 0], recorded[f"{name}_weight"])


@pytest.mark.parametrize("case", case_parameters("udass_image", "mask_generator"))
def test_mask_generator(case: Path) -> None:
    inputs, recorded = arrays(case)
    meta = load_json(case / "meta.json")
    config = MaskConfig(block=meta["block"], ratio=meta["ratio"])
    masks = []
    for place, (size, draws) in enumerate(zip(meta["sizes"], meta["draws"], strict=True)):
        masks.append(block_mask(torch.tensor(draws[0]["value"]), (size[0], size[1]), config))
        np.testing.assert_array_equal(masks[-1], recorded[f"mask{place}"])
    masked = mask_images(inputs["image"], masks[0], torch.zeros(3))
    np.testing.assert_array_equal(masked, recorded["masked_image"])


@pytest.mark.parametrize("case", case_parameters("udass_image", "pseudo_label_weight"))
def test_pseudo_label_weight(case: Path) -> None:
    inputs, recorded = arrays(case)
    meta = load_json(case / "meta.json")
    plain = PseudoLabelConfig(threshold=meta["threshold"], reference_compat=True)
    found = pseudo_labels(inputs["logits"], plain)
    np.testing.assert_array_equal(found.labels, recorded["pseudo_label"])
    np.testing.assert_array_equal(found.confidence >= meta["confidence"], recorded["confident"])
    np.testing.assert_allclose(
        found.weight, np.broadcast_to(recorded["weight_raw"], found.weight.shape), atol=WEIGHT
    )
    masked = pseudo_labels(inputs["logits"], plain, inputs["valid_pseudo_mask"][:, 0])
    np.testing.assert_allclose(masked.weight, recorded["weight_valid_mask"], atol=WEIGHT)
    margins = plain.replaced(ignore_top=meta["top"], ignore_bottom=meta["bottom"])
    np.testing.assert_allclose(
        pseudo_labels(inputs["logits"], margins).weight, recorded["weight_top_bottom"], atol=WEIGHT
    )


def test_every_quad_mix_case_is_served() -> None:
    known = {"quad_mix", "quad_mix_edge"}
    assert {path.name for path in cases("udass_image", "quad_mix*")} <= known
