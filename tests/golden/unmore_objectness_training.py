"""Golden ``unmore``: targets of both trainings and the losses of one step."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, load_json, load_npz
from nolabel.methods.unmore.existence_targets import background_crop, cut_and_resize, labelled_crop
from nolabel.methods.unmore.objectness_losses import ObjectnessLossConfig, objectness_losses
from nolabel.methods.unmore.targets import (
    ObjectTargets,
    crop_and_resize,
    object_targets,
    resize_masks,
    whole_targets,
)

pytestmark = pytest.mark.golden

CANVAS = 400  # spec 3.1
IMAGE, BOUNDARY, CENTRE = 1e-5, 1e-5, 1e-4  # README table
TERMS = {  # README: what the names of losses.json mean
    "full": {},
    "l1_only": {"centre": "l1", "slope": False, "mask": False},
    "l2_grad": {"boundary": "l2", "mask": False},
    "bce": {"slope": False},
    "base": {"slope": False, "mask": False},
}


def target_cases() -> list:
    found = []
    for parameter in case_parameters("unmore", "targets"):
        path = parameter.values[0]
        if path is None:
            return [pytest.param(None, None, marks=parameter.marks, id="absent")]
        names = sorted({name.split("__")[0] for name in load_npz(path / "output.npz")})
        found += [pytest.param(path, name, id=f"{path.name}-{name}") for name in names]
    return found


@pytest.mark.parametrize(("path", "name"), target_cases())
def test_targets(path: Path, name: str) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    crop = json.loads((path / "crops.json").read_text()).get(name)
    mask, _, kind = name.partition("_")
    masks = resize_masks(torch.from_numpy(given[f"mask_{mask}"])[None] > 0, (CANVAS, CANVAS))
    image = torch.from_numpy(given["image"]).permute(2, 0, 1)[None].float() / 255
    image = F.interpolate(image, size=(CANVAS, CANVAS), mode="bilinear")
    size = recorded[f"{name}__sdf"].shape[-1]
    if crop is None:
        found = whole_targets(masks, size)
        image = F.interpolate(image, size=(size, size), mode="bilinear")
    else:
        crops = torch.tensor([crop])
        found = object_targets(masks, crops, size, background=kind == "bg")
        image = crop_and_resize(image, crops, size)
    expected = {
        key.split("__")[1]: torch.from_numpy(v) for key, v in recorded.items() if key.startswith(f"{name}__")
    }
    compared = {
        "image": (image, IMAGE),
        "sdf": (found.boundary, BOUNDARY),
        "center_field": (found.centre, CENTRE),
        "object_center": (found.point.flip(1), CENTRE),
        "saliency_mask": (found.mask.to(torch.uint8), 0),
    }
    assert expected.keys() <= compared.keys()
    for key, value in expected.items():
        actual, tolerance = compared[key]
        torch.testing.assert_close(actual[0], value, rtol=0, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("path", case_parameters("unmore", "targets"))
def test_existence_samples(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "existence_output.npz")
    image = torch.from_numpy(given["image"]).permute(2, 0, 1).float() / 255
    first, last = (given[name] for name in ("mask_0", max(n for n in given if n.startswith("mask_"))))
    size = recorded["background_image"].shape[-1]
    square = background_crop(torch.from_numpy(first + last) > 0)  # README: the full mask
    assert square is not None
    background = cut_and_resize(image, square, size)
    torch.testing.assert_close(background, torch.from_numpy(recorded["background_image"]), rtol=0, atol=IMAGE)
    assert recorded["background_label"] == 0
    for number, crop in enumerate(load_json(path / "existence_crops.json")):
        seen, label = labelled_crop(image, torch.from_numpy(first) > 0, tuple(crop), size)
        assert label == recorded[f"crop_{number}_label"]
        if f"crop_{number}_image" in recorded:
            expected = torch.from_numpy(recorded[f"crop_{number}_image"])
            torch.testing.assert_close(seen, expected, rtol=0, atol=IMAGE)


@pytest.mark.parametrize("path", case_parameters("unmore", "losses"))
def test_losses(path: Path) -> None:
    folder = path if path.is_dir() else path.parent
    given = {k: torch.from_numpy(v).float() for k, v in load_npz(folder / "input.npz").items()}
    recorded, gradients = load_json(folder / "losses.json"), load_npz(folder / "grads.npz")
    everything = ObjectTargets(
        given["gt_sdf"], given["gt_center"], given["saliency"] > 0, torch.zeros(len(given["gt_sdf"]), 2)
    )
    chosen = everything.usable
    targets, few = everything[chosen], int(chosen.sum())
    boundary, centre = given["pred_sdf"][chosen, 0], given["pred_center"][chosen]
    assert few < len(chosen) and recorded.keys() <= TERMS.keys()
    for name, value in recorded.items():
        losses = objectness_losses(boundary, centre, targets, ObjectnessLossConfig(**TERMS[name]))
        assert float(losses["loss"]) == pytest.approx(value, rel=1e-5, abs=1e-6), name
    boundary.requires_grad_()
    centre.requires_grad_()
    full = objectness_losses(boundary, centre, targets, ObjectnessLossConfig(**TERMS["full"]))["loss"]
    of_boundary, of_centre = torch.autograd.grad(full, [boundary, centre])
    for found, expected in ((of_boundary[:, None], "grad_sdf_full"), (of_centre, "grad_center_full")):
        torch.testing.assert_close(found, torch.from_numpy(gradients[expected]), rtol=1e-5, atol=1e-6)
