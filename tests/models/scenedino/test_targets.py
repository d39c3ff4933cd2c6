"""Targets as fine as the image."""

import torch

from nolabel.models.scenedino.targets import draw_crops, enlarged_targets, multi_crop_targets


def test_crops_cover_part_of_the_image():
    matrices = draw_crops(200, 24, 40, torch.Generator().manual_seed(0))
    scale = matrices.diagonal(dim1=1, dim2=2)[:, :2].abs()
    shares = 1 / scale.prod(dim=1)
    assert (scale >= 1).all() and shares.min() > 0.4 and shares.max() <= 1 and shares.std() > 0.05
    corners = torch.tensor([[-0.5, -0.5, 1], [39.5, 23.5, 1]]).T
    back = torch.linalg.inv(matrices) @ corners  # where the crop's corners lie in the image
    assert (back[:, 0] > -0.51).all() and (back[:, 0] < 39.51).all() and (back[:, 1] > -0.51).all()
    mirrored = matrices[:, 0, 0] < 0
    assert 60 < mirrored.sum() < 140


def test_features_of_all_views_agree():
    # Features that move with the image: colours of a smooth picture.
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 48), indexing="ij")
    picture = torch.stack([x, y, 1 - x])[None]

    def extract(images):
        return torch.nn.functional.avg_pool2d(images, 2)

    found = multi_crop_targets(extract, picture, torch.Generator().manual_seed(1), crops=3)
    plain = torch.nn.functional.normalize(enlarged_targets(extract(picture), (32, 48), "bilinear"), dim=1)
    assert found.shape == picture.shape
    torch.testing.assert_close(found, plain, rtol=0, atol=0.05)
