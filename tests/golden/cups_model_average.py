"""Golden ``cups_model``: the teacher as a moving average of the student."""

import re
from pathlib import Path

import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.engine.ema import update_average

pytestmark = pytest.mark.golden

RATE, TOLERANCE = 0.999, 1e-6  # README table


def module(values: torch.Tensor) -> torch.nn.Module:
    holder = torch.nn.Module()
    holder.weight = torch.nn.Parameter(values.clone())
    return holder


@pytest.mark.parametrize("path", case_parameters("cups_model", "tta/ema*.npz"))
def test_moving_average(path: Path) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in load_npz(path).items()}
    results = {
        int(match[1]): name for name in arrays if (match := re.fullmatch(r"teacher_after_(\d+)", name))
    }
    assert results
    teacher, student = module(arrays["teacher"]), module(arrays["student"])
    for step in range(1, max(results) + 1):
        update_average(teacher, student, RATE)
        if step in results:
            assert torch.allclose(teacher.weight, arrays[results[step]], rtol=0, atol=TOLERANCE)
