import pytest
import torch

from nolabel.metrics import motion_errors


def test_errors_and_outliers() -> None:
    truth = torch.zeros(2, 1, 4)
    truth[0, 0] = torch.tensor([0.0, 10, 100, torch.nan])
    prediction = truth.nan_to_num() + torch.tensor([[3.0, 3.0, 3.0, 9.0], [4.0, 0.0, 0.0, 9.0]])[:, None]
    found = motion_errors(prediction, truth)
    assert found.pixels == 3 and found.end_point_error == pytest.approx(11 / 3)
    # 3 pixels are none, and an error of 3 % is none either.
    assert found.outlier_share == pytest.approx(1 / 3)
    assert motion_errors(prediction + 4, truth).outliers == 3
    both = found + motion_errors(prediction, truth, torch.tensor([[[True, False, False, True]]]))
    assert both.pixels == 4 and both.end_point_error == pytest.approx(16 / 4)
