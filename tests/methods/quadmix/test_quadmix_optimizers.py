"""Groups of parameters, and updates that are repeated within a step."""

import pytest
import torch

from nolabel.engine.parameter_groups import ParameterRule, parameter_groups, scale_rates
from nolabel.methods.quadmix.optimizers import (
    REFERENCE_VIDEO_RULES,
    OptimizerConfig,
    RepeatedSGD,
    build_optimizer,
)


def parameters(*names):
    return [(name, torch.nn.Parameter(torch.ones(2))) for name in names]


def test_the_first_rule_counts_and_frozen_parameters_are_left_out():
    named = parameters("a.head.norm", "a.norm", "a.weight", "a.frozen")
    named[3][1].requires_grad_(False)
    rules = (ParameterRule(pattern="head", rate=10), ParameterRule(pattern="norm", decay=0))
    groups = parameter_groups(named, rules, 0.1, 0.5)
    found = {name: (g["lr"], g["weight_decay"]) for g in groups for name, _ in g["params"]}
    assert found == {"a.head.norm": (1.0, 0.5), "a.norm": (0.1, 0.0), "a.weight": (0.1, 0.5)}


def test_rates_follow_the_schedule_unless_told_otherwise():
    rules = (ParameterRule(pattern="head", scheduled=False),)
    optimizer = torch.optim.SGD(parameter_groups(parameters("head", "body"), rules, 0.1, 0.0), lr=0.1)
    for factor in (0.5, 0.25):
        scale_rates(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1 * factor])


def test_video_weights_get_the_original_s_repeats():
    names = {
        "backbone.stem.conv1.weight": (1, 1.0, True),
        "backbone.res2.0.conv2.weight": (3, 1.0, True),
        "backbone.res5.0.shortcut.weight": (4, 1.0, True),
        "main.classifier.weight": (1, 10.0, False),
        "auxiliary.branches.0.bias": (1, 10.0, False),
        "fusion.weight": (1, 10.0, True),
    }
    groups = parameter_groups(parameters(*names), REFERENCE_VIDEO_RULES, 1.0, 0.0)
    found = {n: (g["repeats"], g["lr"], g["scheduled"]) for g in groups for n, _ in g["params"]}
    assert found == names
    fixed = parameter_groups(parameters(*names), OptimizerConfig(decay_norms=True).rules, 1.0, 0.0)
    assert {(g["lr"], g["repeats"], g["scheduled"]) for g in fixed} == {(1.0, 1, True), (10.0, 1, True)}


def test_repeated_updates_match_the_recurrence_written_out():
    rate, momentum, decay, repeats = 0.1, 0.9, 0.05, 3
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    config = OptimizerConfig(
        name="sgd",
        learning_rate=rate,
        weight_decay=decay,
    )
    rules = (ParameterRule(pattern="w", repeats=repeats),)
    optimizer = build_optimizer([("w", weight)], config, rules)
    assert isinstance(optimizer, RepeatedSGD)
    expected, buffer = weight.detach().clone(), None
    for step in range(3):
        gradient = torch.tensor([0.3, float(step)])
        weight.grad = gradient.clone()
        optimizer.step()
        for _ in range(repeats):
            change = gradient + decay * expected
            buffer = change if step == 0 else momentum * buffer + change
            expected = expected - rate * buffer
        assert torch.allclose(weight, expected)
    again = build_optimizer([("w", torch.nn.Parameter(weight.detach().clone()))], config, rules)
    again.load_state_dict(optimizer.state_dict())
    assert torch.allclose(again.state_dict()["state"][0]["momentum_buffer"], buffer)


def test_one_update_a_step_is_plain_sgd():
    config = OptimizerConfig(name="sgd", learning_rate=0.1, head_rate=1)
    ours, plain = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    group = parameter_groups([("w", ours)], (), 0.1, 0.01)
    mine = RepeatedSGD(group, 0.1, 0.9)
    theirs = build_optimizer([("w", plain)], config)
    assert type(theirs) is torch.optim.SGD
    for _ in range(3):
        for weight, optimizer in ((ours, mine), (plain, theirs)):
            weight.grad = torch.arange(3.0)
            optimizer.step()
    assert torch.allclose(ours, plain)
