"""Golden ``cotraining``: loss, learning rate, colour transfer, class mixing, sampling, augmentation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, load_json, load_npz
from nolabel.data.colour_transfer import collect_statistics, lab_statistics, transfer
from nolabel.data.mixing import NUM_IDS, listed_classes
from nolabel.data.sampling import ClassStatistics, RareClassSampler
from nolabel.engine.schedules import polynomial_decay
from nolabel.engine.segmentation_inference import shortest_edge_size
from nolabel.methods.cotraining.augment import Crop, Flip, Resize, apply
from nolabel.methods.cotraining.class_mix import classes_on_demand, mix, random_classes
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy

pytestmark = pytest.mark.golden

BASE_RATE = 0.002  # README table
LAB_STATISTICS, LAB_PART_OFF = 1e-6, 0.005
PROBABILITY = 1e-6


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).movedim(-1, -3).contiguous()


@pytest.mark.parametrize("path", case_parameters("cotraining", "loss*"))
def test_loss(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    factor = load_json(path / "params.json")["k"]
    logits = torch.from_numpy(given["logits"]).requires_grad_()
    full = (
        F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)
        if factor > 1
        else logits
    )
    void = logits.shape[1] - 1
    loss = hard_pixel_cross_entropy(full, torch.from_numpy(given["labels"]), ignore_index=void)
    loss.backward()
    assert loss.item() == pytest.approx(float(recorded["loss"]), abs=1e-5)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), recorded["grad"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", case_parameters("cotraining", "lr*"))
def test_learning_rate(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    factor = polynomial_decay(load_json(path / "params.json")["T"])
    rates = [BASE_RATE * factor(int(step)) for step in given["iterations"]]
    np.testing.assert_allclose(rates, recorded["lr"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", case_parameters("cotraining", "lab*"))
def test_colour_transfer(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    partners = load_json(path / "params.json")["target_index"]
    names = [f"{kind}{index}" for kind in ("source", "target") for index in range(len(partners))]
    for name in names:
        expected = recorded[f"{name}_lab_mean_std"]
        found = lab_statistics(channels_first(given[name]))
        np.testing.assert_allclose(torch.stack(found).numpy(), expected, rtol=0, atol=LAB_STATISTICS)
    cached = collect_statistics(channels_first(given[f"target{index}"]) for index in range(len(partners)))
    for index, partner in enumerate(partners):
        found = transfer(channels_first(given[f"source{index}"]), cached[torch.tensor(partner)])
        difference = (found.int() - channels_first(recorded[f"translated{index}"]).int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < LAB_PART_OFF


@pytest.mark.parametrize("path", case_parameters("cotraining", "classmix*"))
@pytest.mark.parametrize("kind", ["demand", "fixed", "random"])
def test_class_mix(path: Path, kind: str) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    source = torch.from_numpy(given["src_lab"])
    if kind == "demand":
        chosen = classes_on_demand(source, torch.from_numpy(given["thresholds"]))
    elif kind == "fixed":
        chosen = listed_classes(given["fixed_classes"].tolist(), len(source))
    else:
        keys = torch.zeros(len(source), NUM_IDS)
        for index, labels in enumerate(source):
            permutation = torch.from_numpy(recorded[f"random_perm{index}"])
            keys[index, labels.unique().long()[permutation]] = torch.arange(len(permutation)).float()
        chosen = random_classes(source, keys)
    mixed = mix(
        channels_first(given["src_img"]),
        source,
        channels_first(given["tgt_img"]),
        torch.from_numpy(given["tgt_lab"]),
        chosen,
    )
    assert torch.equal(mixed.images, channels_first(recorded[f"{kind}_img"]))
    assert torch.equal(mixed.labels, torch.from_numpy(recorded[f"{kind}_lab"]))


@pytest.mark.parametrize("path", case_parameters("cotraining", "rcs*"))
def test_rare_class_sampling(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    parameters = load_json(path / "params.json")
    maps = [(str(index), torch.from_numpy(labels)) for index, labels in enumerate(given["labels"])]
    num_classes = 19  # README: void 19 is no class
    statistics = ClassStatistics.of(maps, num_classes)
    assert statistics.order().tolist() == recorded["classes"].tolist()
    found = statistics.probabilities(parameters["temp"])
    np.testing.assert_allclose(found.numpy(), recorded["prob"], rtol=0, atol=PROBABILITY)
    candidates = statistics.candidates(parameters["min_pixels"])
    rows = [
        (int(c), int(i)) for c, images in zip(statistics.order(), candidates, strict=True) for i in images
    ]
    assert rows == [tuple(row) for row in recorded["candidates_flat"].tolist()]
    # The recorded draws come from another generator: only their distribution can be compared.
    wanted = {image for _, image in rows}
    assert set(recorded["drawn_images"].tolist()) <= wanted
    number = 200 * len(recorded["drawn_images"])
    settings = {"temperature": parameters["temp"], "min_pixels": parameters["min_pixels"]}
    drawn = list(RareClassSampler(statistics, number, torch.Generator().manual_seed(0), **settings))
    weights = found.double() * torch.tensor([len(images) > 0 for images in candidates])
    expected = torch.zeros(len(maps), dtype=torch.float64)
    for weight, images in zip(weights / weights.sum(), candidates, strict=True):
        expected[images] += weight / max(len(images), 1)
    share = torch.bincount(torch.tensor(drawn), minlength=len(maps)) / number
    assert (share - expected).abs().max() < 5 * 0.5 / number**0.5


OPERATIONS = {"resize": Resize, "crop": Crop, "hflip": Flip}


@pytest.mark.parametrize("path", case_parameters("cotraining", "augment*"))
def test_augmentation(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    parameters = load_json(path / "params.json")
    image, labels = channels_first(given["image"]), torch.from_numpy(given["label"])
    keys = [key.removesuffix("_ops") for key in recorded if key.endswith("_ops")]
    assert keys
    for key in keys:
        listed = json.loads(str(recorded[f"{key}_ops"]))
        operations = [OPERATIONS[name](*numbers) for name, *numbers in listed]
        found_image, found_labels = apply(operations, image, labels)
        assert torch.equal(found_image, channels_first(recorded[f"{key}_img"])), key
        assert torch.equal(found_labels, torch.from_numpy(recorded[f"{key}_lab"])), key
        # The sizes are those our rule gives: the jitter follows the fixed resize, or (co) comes before it.
        sizes = [tuple(numbers) for name, *numbers in listed if name == "resize"]
        fixed = tuple(parameters["resize"])
        before, place, jittered = (fixed, 0, 1) if key.startswith("self") else (labels.shape, 1, 0)
        assert sizes[place] == fixed
        allowed = {shortest_edge_size(before, edge, parameters["cap"]) for edge in parameters["edges"]}
        assert sizes[jittered] in allowed
