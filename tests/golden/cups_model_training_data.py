"""Golden cases of the CUPS network's training data: targets, copy-paste, jitter, crop, label formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz, unpack_masks
from nolabel.methods.cups import augment
from nolabel.methods.cups.targets import boxes_of, keep_objects
from nolabel.models.panoptic import PanopticTarget

pytestmark = pytest.mark.golden
IMAGE_TOLERANCE = 2e-3  # README of the golden folder: stored as float16


def target_from(
    arrays: dict[str, np.ndarray], prefix: str, index: int
) -> tuple[torch.Tensor, PanopticTarget]:
    image = torch.from_numpy(arrays[f"{prefix}image_{index}"]).float() / 255
    instances = torch.from_numpy(arrays[f"{prefix}instance_{index}"]).long()
    classes = torch.from_numpy(arrays[f"{prefix}classes_{index}"])
    semantic = torch.from_numpy(arrays[f"{prefix}sem_{index}"]).long()
    boxes = boxes_of(instances, len(classes), reference_compat=True)
    return image, PanopticTarget(boxes=boxes, classes=classes, instances=instances, semantic=semantic)


def batch_from(arrays: dict[str, np.ndarray], prefix: str) -> list[tuple[torch.Tensor, PanopticTarget]]:
    count = sum(name.startswith(f"{prefix}image_") for name in arrays)
    return [target_from(arrays, prefix, index) for index in range(count)]


def check(
    arrays: dict[str, np.ndarray], prefix: str, index: int, image: torch.Tensor, target: PanopticTarget
) -> None:
    np.testing.assert_allclose(image.numpy(), arrays[f"{prefix}image_{index}"], atol=IMAGE_TOLERANCE)
    np.testing.assert_array_equal(target.semantic.numpy(), arrays[f"{prefix}sem_{index}"])
    masks = unpack_masks(arrays[f"{prefix}masks_{index}"], arrays[f"{prefix}mask_shape_{index}"])
    ids = np.arange(1, len(target.classes) + 1)[:, None, None]
    np.testing.assert_array_equal(target.instances.numpy() == ids, masks)
    np.testing.assert_array_equal(target.boxes.numpy(), arrays[f"{prefix}boxes_{index}"])
    np.testing.assert_array_equal(target.classes.numpy(), arrays[f"{prefix}classes_{index}"])


def pastes_of_image(draws: list[list[Any]], start: int) -> tuple[list[augment.Paste], int]:
    """Read one image's draws off the tape: a count, then source, scale, flip, x and y of each object."""
    count, position = draws[start][-1], start + 1
    pastes = []
    for _ in range(count):
        source, scale, flip, x, y = draws[position : position + 5]
        fractions = [value / room if room else 0.0 for _, _, room, value in (x, y)]
        pastes.append(augment.Paste(source[-1], scale[-1], flip[-1] > 0.5, *fractions))
        position += 5
    return pastes, position


@pytest.mark.parametrize("case", case_parameters("cups_model", "copy_paste"))
def test_copy_paste_replays_the_recorded_draws(case: Path) -> None:
    arrays, meta = load_npz(case), load_json(case.with_suffix(".json"))
    source = batch_from(arrays, "src_")
    targets = source if meta["same_source_and_target"] else batch_from(arrays, "tgt_")
    cutouts = augment.ObjectCutouts([i for i, _ in source], [t for _, t in source], reference_compat=True)
    position = 0
    for index, (image, target) in enumerate(targets):
        pastes, position = pastes_of_image(meta["draws"], position)
        image, target = augment.copy_paste(image, target, cutouts, pastes, reference_compat=True)
        check(arrays, "out_", index, image, target)
    assert position == len(meta["draws"])


@pytest.mark.parametrize("case", case_parameters("cups_model", "jitter_crop"))
def test_jitter_and_crop(case: Path) -> None:
    arrays, meta = load_npz(case), load_json(case.with_suffix(".json"))
    count = sum(name.startswith("image_") for name in arrays)
    for index in range(count):
        image, target = target_from(arrays, "", index)
        resized, jittered = augment.resize(image, target, tuple(meta["jitter_resolution"]))
        check(arrays, "jitter_", index, resized, with_inclusive_boxes(jittered))
        left, top = (int(v) for v in meta["crop_corners_per_image"][index][0][0])
        cropped, kept = augment.crop(image, target, top, left, tuple(meta["crop_size"]))
        check(arrays, "crop_", index, cropped, with_inclusive_boxes(kept))


def with_inclusive_boxes(target: PanopticTarget) -> PanopticTarget:
    return keep_objects(target, target.instances, target.semantic, min_pixels=1, reference_compat=True)
