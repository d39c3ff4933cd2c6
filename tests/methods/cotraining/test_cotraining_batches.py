"""Which images of a batch are pasted onto which, and from which data set they come."""

import pytest
import torch

from nolabel.data.domain_images import DataPart, SourceImages, open_source
from nolabel.errors import ConfigError
from nolabel.methods.cotraining.batches import mixed_batch
from nolabel.methods.cotraining.selection import SelectedLabel
from nolabel.methods.cotraining.settings import MixedTrainingConfig
from nolabel.methods.cotraining.training_data import StepBatches
from tests.methods.cotraining.micro_world import CHANGES, SPACE, write_domain


def images(first, count):
    """Images of one grey each, with a left half of class ``first + i`` and a right half of class 9."""
    labels = torch.full((count, 2, 4), 9)
    labels[:, :, :2] = torch.arange(first, first + count)[:, None, None]
    return torch.arange(first, first + count).float()[:, None, None, None].expand(count, 3, 2, 4), labels


def left_class(labels):
    """Choose what is not class 9."""
    table = torch.zeros(len(labels), 256, dtype=torch.bool)
    return table.scatter_(1, labels[:, 0, :1], True)


def halves(batch):
    """(left, right) grey of every image, and (left, right) class."""
    pictures, labels = batch
    return [tuple(row) for row in pictures[:, 0, 0, [0, 3]].int().tolist()], labels[:, 0, [0, 3]].tolist()


def test_by_default_every_target_receives_and_the_givers_are_used_up():
    greys, classes = halves(mixed_batch(images(0, 4), images(5, 2), left_class))
    assert greys == [(0, 0), (1, 1), (2, 5), (3, 6)]
    assert classes == [[0, 9], [1, 9], [2, 9], [3, 9]]


def test_a_ratio_pastes_both_ways():
    # Four source images that stay (two receive), one to paste; three targets, of which the first receives.
    greys, classes = halves(mixed_batch(images(0, 5), images(5, 3), left_class, ratio=(2, 1)))
    assert greys == [(0, 0), (1, 1), (5, 2), (6, 3), (4, 5), (6, 6), (7, 7)]
    assert classes == [[0, 9], [1, 9], [5, 9], [6, 9], [4, 9], [6, 9], [7, 9]]


def test_more_receivers_than_targets_take_them_again():
    greys, _ = halves(mixed_batch(images(0, 3), images(5, 1), left_class, ratio=(3, 0)))
    assert greys == [(5, 0), (5, 1), (5, 2), (5, 5)]


def batches(source, folder, **changes):
    fit = {"steps": 4, "batch_size": 4, "seed": 1}
    config = MixedTrainingConfig.model_validate({"fit": fit, "source": CHANGES, "target": CHANGES, **changes})
    files = [
        SelectedLabel(str(folder / f"images/{i:02d}.png"), str(folder / f"labels/{i:02d}.png"), 1, 0, 3)
        for i in range(2)
    ]
    return StepBatches(source, files, config, 4)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two data sets: one with blue at 0, one with blue at the most."""
    folder = tmp_path_factory.mktemp("sources")
    tints = {"first": torch.tensor([1.0, 1.0, 0.0]).numpy(), "second": torch.tensor([0.0, 0.0, 1.0]).numpy()}
    roots = [write_domain(folder / name, 4, tint, 0) for name, tint in tints.items()]
    return open_source([DataPart(root=root) for root in roots], SPACE), roots[0]


def of_second(pictures):
    return (pictures[:, 2].mean((1, 2)) > pictures[:, 0].mean((1, 2))).tolist()


def test_two_sources_in_turn_give_half_of_the_images_and_half_of_the_pastes(sources):
    source, folder = sources
    assert isinstance(source, SourceImages)
    found = batches(source, folder, targets=2, alternate_sources=True)
    for index in range(4):
        assert of_second(found[index].source[0]) == [False, True, False, True]  # the last two are pasted
    with pytest.raises(ConfigError, match="in turn"):
        batches(source, folder, alternate_sources=True, rare_classes={"min_pixels": 1})


def test_the_ratio_decides_how_many_images_are_drawn(sources):
    source, folder = sources
    found = batches(source, folder, targets=2, mix_ratio=[1, 1])
    assert (len(found[0].source[0]), len(found[0].target[0])) == (3, 2)
    assert found.summary() == "2 (1 more to paste) of 8 source images and 2 of 2 target images"
    assert (
        batches(source, folder, targets=3, mix="none").summary()
        == "1 of 8 source images and 3 of 2 target images"
    )
    with pytest.raises(ConfigError, match="2 source and 2 target"):
        batches(source, folder, targets=2, mix_ratio=[3, 1])
