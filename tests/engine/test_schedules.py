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
