"""Moving averages of networks."""

import pytest
import torch

from nolabel.engine.ema import ramped_rate, update_average
from nolabel.errors import TrainingError


def test_parameters_move_and_buffers_stay():
    teacher, student = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(student.weight, 3.0)
    student.running_mean.fill_(5.0)
    update_average(teacher, student, 0.75)
    assert torch.allclose(teacher.weight, torch.full((3,), 1.5))
    assert (teacher.running_mean == 0).all() and (student.weight == 3).all()


def test_networks_that_differ_are_refused():
    with pytest.raises(TrainingError, match="bias"):
        update_average(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False), 0.9)


def test_a_teacher_is_a_copy_first_and_slow_later():
    assert [ramped_rate(step, 0.9) for step in (0, 1, 3, 1000)] == [0, 0.5, 0.75, 0.9]
