"""Images measured from -1 to 1."""

import torch

from nolabel.geometry import normalised_intrinsics, pixel_intrinsics, project_normalised
from nolabel.geometry.cameras import PinholeCamera

MATRIX = torch.tensor([[30.0, 0.2, 19.0], [0.0, 28.0, 12.5], [0.0, 0.0, 1.0]])


def test_pixel_centres_lie_where_grid_sample_has_them():
    points = PinholeCamera(MATRIX).backproject(torch.full((24, 40), 7.0)).reshape(-1, 3)
    image, depth, outside = project_normalised(points, normalised_intrinsics(MATRIX, 24, 40))
    columns = torch.linspace(-1 + 1 / 40, 1 - 1 / 40, 40)
    torch.testing.assert_close(image.reshape(24, 40, 2)[3, :, 0], columns)
    assert not outside.any() and torch.all(depth == 7)


def test_back_to_pixels_and_other_resolutions():
    for centre in (0.0, 0.5):
        normalised = normalised_intrinsics(MATRIX, 24, 40, centre)
        torch.testing.assert_close(pixel_intrinsics(normalised, 24, 40, centre), MATRIX)
    doubled = pixel_intrinsics(normalised, 48, 80, 0.5)  # counted from the edge, all numbers double
    torch.testing.assert_close(doubled[:2], 2 * MATRIX[:2])


def test_behind_the_camera_is_outside():
    points = torch.tensor([[0.0, 0.0, -5.0], [0.0, 0.0, 5.0], [50.0, 0.0, 5.0]])
    assert project_normalised(points, torch.eye(3))[2].tolist() == [True, False, True]
