"""Learning-rate schedules."""

import pytest

from nolabel.engine.schedules import polynomial_decay


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
