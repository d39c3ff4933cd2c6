"""Golden ``cotraining``: thresholds, pseudo-labels, scores, exchange, accumulation and final labels."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz
from nolabel.engine.segmentation_inference import Prediction
from nolabel.methods.cotraining import exchange
from nolabel.methods.cotraining.final_labels import final_labels
from nolabel.methods.cotraining.pseudo_labels import ImageScores, drop_unsure, score_images
from nolabel.methods.cotraining.selection import (
    SelectedLabel,
    accumulate,
    draw_subset,
    rank_images,
    write_selection,
)
from nolabel.methods.cotraining.thresholds import (
    HIGHEST_CO_TRAINING,
    HIGHEST_SELF_TRAINING,
    class_thresholds,
)

pytestmark = pytest.mark.golden

HIGHEST = {"self": HIGHEST_SELF_TRAINING, "co": HIGHEST_CO_TRAINING}
SCORES = 1e-5  # README table
FINAL_AGREEMENT = 0.9999


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in load_npz(path).items()}


def one_by_one(labels: torch.Tensor, confidence: torch.Tensor) -> list[Prediction]:
    return [Prediction(*pair) for pair in zip(labels, confidence, strict=True)]


def vectors(scores: ImageScores, stage: str) -> torch.Tensor:
    return scores.self_training_vectors() if stage == "self" else scores.co_training_vectors()


@pytest.mark.parametrize("path", case_parameters("cotraining", "mpt*"))
def test_thresholds(path: Path) -> None:
    given, recorded = tensors(path / "input.npz"), tensors(path / "output.npz")
    predictions = one_by_one(given["labels"], given["conf"])
    names = [name for name in recorded if "_thr_" in name]
    assert names
    for name in names:
        stage, which = re.fullmatch(r"(self|co)_thr_(p\d+|list)", name).groups()
        portion = given["portion_list"] if which == "list" else int(which[1:]) / 100
        size = len(recorded[name])
        found = class_thresholds(predictions, size, portion, highest=HIGHEST[stage])
        assert torch.equal(found, recorded[name]), name


@pytest.mark.parametrize("path", case_parameters("cotraining", "mpt*"))
@pytest.mark.parametrize("stage", ["self", "co"])
@pytest.mark.parametrize("masked", ["nomask", "mask"])
def test_pseudo_labels_and_scores(path: Path, stage: str, masked: str) -> None:
    given, recorded = tensors(path / "input.npz"), tensors(path / "output.npz")
    thresholds = recorded[f"{stage}_thr_p50"]
    mask = given["mask"] if masked == "mask" else None
    labels = drop_unsure(given["labels"], given["conf"], thresholds, mask=mask)
    assert torch.equal(labels, recorded[f"{stage}_{masked}_labels"])
    scores = score_images(labels, given["conf"], thresholds, reference_compat=True)
    torch.testing.assert_close(
        vectors(scores, stage),
        recorded[f"{stage}_{masked}_scores"],
        rtol=SCORES,
        atol=SCORES,
        equal_nan=True,
    )
    if f"{stage}_{masked}" == "self_mask":  # the README: orders are those of these scores
        orders = {name.split("_order_")[1]: value for name, value in recorded.items() if "_order_" in name}
        assert orders
        for sorting, order in orders.items():
            assert rank_images(scores, sorting) == order.tolist()


@pytest.mark.parametrize("path", case_parameters("cotraining", "subset*"))
def test_subsets(path: Path) -> None:
    parameters, recorded = load_json(path / "params.json"), load_npz(path / "output.npz")
    names = [f"img_{index:06d}" for index in range(int(load_npz(path / "input.npz")["n"]))]
    shuffled = random.Random(0).sample(names, len(names))
    for seed in parameters["seeds"]:
        drawn = draw_subset(shuffled, parameters["samples"], seed)
        assert drawn == [names[index] for index in recorded[f"seed_{seed}"]]


def rows(text: str, folder: str) -> list[SelectedLabel]:
    entries = []
    for line in str(text).splitlines():
        name, score, void, classes = line.split(" ")
        entries.append(
            SelectedLabel(f"/img/{name}", f"/{folder}/{name}", float(score), float(void), int(classes))
        )
    return entries


@pytest.mark.parametrize("path", case_parameters("cotraining", "accumulate*"))
def test_accumulation(path: Path, tmp_path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    files = {
        "images": "dataset_img.txt",
        "labels": "dataset_pseudolabels.txt",
        "scores": "filenames_and_scores.txt",
    }
    for key, text in recorded.items():
        sorting, which = key.split(":")
        old, new = rows(given["old"], "old"), rows(given["new"], "new")
        write_selection(tmp_path, accumulate(old, new, "update_best_score", sorting, reference_compat=True))
        assert (tmp_path / files[which]).read_text() == str(text), key


def branches(path: Path) -> tuple[dict, dict[str, exchange.Branch], dict[str, torch.Tensor]]:
    """Scores and thresholds computed, and compared, as the reference does before any exchange."""
    given, recorded = tensors(path / "input.npz"), tensors(path / "output.npz")
    found, pseudo = {}, {}
    for name in "AB":
        labels, confidence = given[f"labels_{name}"], given[f"conf_{name}"]
        size = len(recorded[f"thr_{name}"])
        thresholds = class_thresholds(one_by_one(labels, confidence), size, 0.5, highest=HIGHEST["co"])
        assert torch.equal(thresholds, recorded[f"thr_{name}"])
        pseudo[name] = drop_unsure(labels, confidence, thresholds)
        assert torch.equal(pseudo[name], recorded[f"pseudo_{name}"])
        scores = score_images(pseudo[name], confidence, thresholds, reference_compat=True)
        torch.testing.assert_close(
            scores.co_training_vectors(),
            recorded[f"scores_{name}"],
            rtol=SCORES,
            atol=SCORES,
            equal_nan=True,
        )
        found[name] = exchange.Branch(scores, thresholds, torch.empty(0))
    return recorded, found, pseudo


@pytest.mark.parametrize("path", case_parameters("cotraining", "exchange*"))
def test_fusion_and_statistics(path: Path) -> None:
    recorded, found, pseudo = branches(path)
    void = len(found["A"].thresholds) - 1
    fused = dict(zip("AB", exchange.fuse_labels(pseudo["A"], pseudo["B"], void), strict=True))
    less = dict(zip("AB", exchange.fuse_labels(pseudo["A"], pseudo["B"], void, subtract=True), strict=True))
    least = load_json(path / "params.json")["min_pixels"]
    for name in "AB":
        assert torch.equal(fused[name], recorded[f"fused_{name}"])
        assert torch.equal(less[name], recorded[f"fused_sub_{name}"])
        table = exchange.images_with_class(fused[name], len(found[name].thresholds), least)
        assert torch.equal(table.T.nonzero(), recorded[f"summary_{name}_flat"])


@pytest.mark.parametrize("path", case_parameters("cotraining", "exchange*"))
def test_rankings(path: Path) -> None:
    recorded, found, pseudo = branches(path)
    least = load_json(path / "params.json")["min_pixels"]
    void = len(found["A"].thresholds) - 1
    fused = dict(zip("AB", exchange.fuse_labels(pseudo["A"], pseudo["B"], void), strict=True))
    maps = {"first": pseudo, "fused": fused}
    rankings = [key for key in recorded if key.count(":") == 2]
    assert rankings
    for key in rankings:
        when, sorting, name = key.split(":")
        view = {
            branch: exchange.Branch.of(
                found[branch].scores,
                found[branch].thresholds,
                maps[when][branch],
                least,
                reference_compat=True,
            )
            for branch in "AB"
        }
        intended = sorting == "intended_difference"
        ranking = exchange.rank_for_partner(
            view[name],
            view["B" if name == "A" else "A"],
            "by_confidence_difference_between_branches" if intended else sorting,
            reference_compat=not intended,
        )
        assert ranking == recorded[key].tolist(), key


@pytest.mark.parametrize("path", case_parameters("cotraining", "final_ensemble*"))
def test_final_labels(path: Path) -> None:
    given, recorded = tensors(path / "input.npz"), tensors(path / "output.npz")
    logits = [given["logits_A"], given["logits_B"]]
    thresholds = [given["thr_A"], given["thr_B"]]
    settings = {"plain": (None, None), "mpt": (thresholds, None), "mpt_mask": (thresholds, given["mask"])}
    for name, (limits, mask) in settings.items():
        found = final_labels(logits, limits, mask)
        assert np.mean((found == recorded[name]).numpy()) >= FINAL_AGREEMENT, name
