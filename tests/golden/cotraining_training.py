"""Golden ``cotraining``: loss, learning rate, colour transfer, class mixing, rare-class sampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, load_json, load_npz
from nolabel.data.colour_transfer import collect_statistics, lab_statistics, transfer
from nolabel.data.mixing import NUM_IDS, listed_classes
from nolabel.engine.schedules import polynomial_decay
from nolabel.methods.cotraining.class_mix import classes_on_demand, mix, random_classes
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy

pytestmark = pytest.mark.golden

BASE_RATE = 0.002  # README table
LAB_STATISTICS, LAB_PART_OFF = 1e-6, 0.005


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
