"""Golden ``udass_video``: rates and parameter groups, class vectors, their discrepancy, cross entropy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, cases, load_json, load_npz
from nolabel.engine.parameter_groups import parameter_groups, scale_rates
from nolabel.methods.quadmix.class_vectors import class_vectors, maximum_mean_discrepancy, temporal_mean
from nolabel.methods.quadmix.losses import pixel_cross_entropy
from nolabel.methods.quadmix.optimizers import (
    REFERENCE_VIDEO_RULES,
    OptimizerConfig,
    build_optimizer,
    rate_schedule,
)

pytestmark = pytest.mark.golden

RATE = 1e-12  # README table
STATISTICS = 1e-5
MULTIPLIER = "vit_lr_multiplier"
CNN_POWER, CNN_DECAY_STEPS = 0.9, 250_000  # specification 5.1
VIT_STEPS = 40_000


def close(found: torch.Tensor, expected: np.ndarray, tolerance: float = STATISTICS) -> None:
    scale = max(float(np.abs(expected).max()), 1e-12)
    np.testing.assert_allclose(found.detach(), expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("path", case_parameters("udass_video", "schedules/*.json"))
def test_rates_of_the_convolutional_network(path: Path) -> None:
    recorded = load_json(path)
    names = ("backbone.stem.conv1.weight", "fusion.weight", "main.classifier.weight")
    benchmarks = [rows for name, rows in recorded.items() if isinstance(rows, list) and name != MULTIPLIER]
    assert benchmarks
    for rows in benchmarks:
        config = OptimizerConfig(
            name="sgd",
            learning_rate=rows[0][1],
            power=CNN_POWER,
            decay_steps=CNN_DECAY_STEPS,
            warmup_steps=0,
        )
        factor = rate_schedule(config, rows[-1][0])
        for row in rows:
            for name, expected in zip(names, row[1:], strict=True):
                weight = torch.nn.Parameter(torch.zeros(1))
                optimizer = build_optimizer([(name, weight)], config, REFERENCE_VIDEO_RULES)
                scale_rates(optimizer, factor(row[0]))
                np.testing.assert_allclose(optimizer.param_groups[0]["lr"], expected, rtol=RATE, err_msg=name)


@pytest.mark.parametrize("path", case_parameters("udass_video", "schedules/*.json"))
def test_rates_and_groups_of_the_transformer(path: Path) -> None:
    recorded = load_json(path)
    config = OptimizerConfig(decay_in_warmup=False)
    factor = rate_schedule(config, VIT_STEPS)
    for step, expected in recorded[MULTIPLIER]:
        np.testing.assert_allclose(factor(step), expected, rtol=RATE, atol=RATE)
    layouts = cases("udass_video", "net_vit/layout*.json")
    names = [entry["name"] for entry in load_json(layouts[0]) if not is_buffer(entry["name"])]
    found: dict[tuple[float, float], list[str]] = {}
    ours = {name.replace("model.", "backbone."): name for name in names}
    parameters = [(name, torch.nn.Parameter(torch.zeros(1))) for name in ours]
    for group in parameter_groups(parameters, config.rules, config.learning_rate, config.weight_decay):
        key = (round(group["lr"], 12), group["weight_decay"])
        found.setdefault(key, []).extend(ours[name] for name, _ in group["params"])
    counts = recorded["vit_groups_count"]
    assert {key: len(members) for key, members in found.items()} == {
        settings(name): count for name, count in counts.items()
    }
    for name, examples in recorded["vit_groups_examples"].items():
        assert set(examples) <= set(found[settings(name)])


def is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def settings(name: str) -> tuple[float, float]:
    """``lr=6e-05,wd=0.01`` as numbers."""
    rate, decay = (float(part.partition("=")[2]) for part in name.split(","))
    return rate, decay


@pytest.mark.parametrize("path", case_parameters("udass_video", "statistics/*.npz"))
def test_class_vectors_and_discrepancy(path: Path) -> None:
    case = load_npz(path)
    scores, other = torch.from_numpy(case["scores"]), torch.from_numpy(case["scores2"])
    labelled = class_vectors(scores, torch.from_numpy(case["label"])[None])
    unlabelled, second = class_vectors(scores), class_vectors(other)
    close(labelled, case["vectors_labelled"])
    close(unlabelled, case["vectors_unlabelled"])
    close(second, case["vectors2"])
    mean = temporal_mean(unlabelled, second)
    close(mean, case["temporal_mean"])
    source = torch.from_numpy(case["vectors_labelled"]).requires_grad_()
    target = torch.from_numpy(case["temporal_mean"]).requires_grad_()
    loss = maximum_mean_discrepancy(source, target)
    loss.backward()
    close(loss, case["mmd"])
    assert source.grad is not None and target.grad is not None
    close(source.grad, case["mmd_grad_source"])
    close(target.grad, case["mmd_grad_target"])


@pytest.mark.parametrize("path", case_parameters("udass_video", "statistics/*.npz"))
def test_cross_entropy(path: Path) -> None:
    case = load_npz(path)
    scores = torch.from_numpy(case["ce_scores"]).requires_grad_()
    loss = pixel_cross_entropy(scores, torch.from_numpy(case["ce_label"])[None], mean_over="labelled")
    loss.backward()
    close(loss, case["ce"])
    assert scores.grad is not None
    close(scores.grad, case["ce_grad"])
