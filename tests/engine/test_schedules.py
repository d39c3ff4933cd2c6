"""Learning-rate schedules."""

import itertools

import pytest

from nolabel.engine.schedules import cosine_ramp, polynomial_decay


def test_warm_up_and_decay():
    factor = polynomial_decay(100, warmup_steps=10, warmup_factor=0.1)
    assert factor(0) == pytest.approx(0.1)
    assert factor(5) == pytest.approx(0.55 * 0.95**0.9)
    assert factor(10) == pytest.approx(0.9**0.9)
    assert factor(100) == factor(500) == 0
    assert polynomial_decay(4, power=1, warmup_steps=0)(1) == pytest.approx(0.75)


def test_decay_may_wait_for_the_end_of_the_warm_up():
    factor = polynomial_decay(110, power=1, warmup_steps=10, warmup_factor=0.0, decay_in_warmup=False)
    assert factor(5) == pytest.approx(0.5)
    assert factor(10) == 1
    assert factor(60) == pytest.approx(0.5)
    assert factor(110) == factor(200) == 0


def test_cosine_ramp() -> None:
    values = [cosine_ramp(step, 100, 2.0, 0.5, warmup=10) for step in range(101)]
    assert values[0] == pytest.approx(0.2) and values[9] == values[10] == 2.0
    assert values[55] == pytest.approx(1.25) and values[100] == pytest.approx(0.5)
    assert cosine_ramp(500, 100, 2.0, 0.5) == pytest.approx(0.5)
    assert all(a >= b for a, b in itertools.pairwise(values[10:]))
