"""Samples of the image trainings: a function of seed and index, with rare classes, fillings and margins."""

import numpy as np
import pytest
import torch

from nolabel.config import load_config
from nolabel.data.class_statistics import class_statistics
from nolabel.data.domain_images import DataPart, open_source, open_target
from nolabel.data.views import ViewConfig
from nolabel.errors import DataError
from nolabel.methods.quadmix.data import FILL, DomainPairs, Kept, draw_view_with, trusted_pixels
from nolabel.methods.quadmix.settings import CropSamplingConfig, ImageConfig, TargetViewConfig
from nolabel.structures.files import write_png

SETTINGS = {
    "source_view": {"crop": [16, 24]},
    "target_view": {"crop": [40, 24], "margins": [2, 3, 4, 5], "flip": 0},
    "rare_classes": {"min_pixels": 20, "min_crop_pixels": 20, "temperature": 0.05},
}


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    root = tmp_path_factory.mktemp("domains")
    generator = np.random.default_rng(0)
    for side in ("source", "target"):
        for index in range(4):
            labels = np.zeros((32, 48), np.uint8)
            labels[:, 24:] = 1
            if index == 0:
                labels[2:8, 2:12] = 7  # the rare class
            image = generator.integers(0, 256, (32, 48, 3)).astype(np.uint8)
            write_png(root / side / "images" / f"{index}.png", image)
            write_png(root / side / "labels" / f"{index}.png", labels)
    source = open_source([DataPart(root=root / "source")], "cityscapes_19")
    return source, open_target([DataPart(root=root / "target")]), root


def pairs(domains, count=24, **changes):
    source, target, root = domains
    config = load_config(ImageConfig, **{**SETTINGS, **changes})
    statistics = class_statistics(source.joined, cache=root / "cache")
    return DomainPairs(source, target, config, count, statistics=statistics)


def test_samples_depend_on_seed_and_index(domains):
    first, again = pairs(domains), pairs(domains)
    for index in (0, 7, 23):
        for one, other in zip(first[index], again[index], strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
    other_seed = pairs(domains, fit={"steps": 1, "seed": 9})
    assert not all(torch.equal(first[i].target, other_seed[i].target) for i in range(4))


def test_what_has_room_is_read_once():
    read = []

    def image(index: int) -> tuple[torch.Tensor]:
        read.append(index)
        return (torch.full((10,), index, dtype=torch.uint8),)

    kept = Kept(image, room=25)
    values = [int(kept(index)[0][0]) for index in (3, 5, 7, 3, 5, 7)]
    assert values == [3, 5, 7, 3, 5, 7]
    assert read == [3, 5, 7, 7]


def test_a_rare_class_is_seen_often(domains):
    rare = sum(bool((pair.labels == 7).any()) for pair in pairs(domains))
    plain = sum(bool((pair.labels == 7).any()) for pair in pairs(domains, rare_classes=None))
    assert rare > 2 * plain


def test_small_images_are_filled_and_margins_are_not_trusted(domains):
    pair = pairs(domains)[0]
    assert pair.source.shape == (3, 16, 24) and pair.labels.dtype == torch.uint8
    assert pair.target.shape == (3, 40, 24) and pair.trusted.dtype == torch.bool
    assert torch.allclose(pair.target[:, 32:], torch.tensor(FILL)[:, None, None].expand(3, 8, 24))
    assert not pair.trusted[32:].any() and not pair.trusted[:2].any() and not pair.trusted[29:].any()
    assert pair.trusted[2:29].any()
    trusted = trusted_pixels((32, 48), TargetViewConfig(margins=(2, 3, 4, 5)))
    assert int(trusted.sum()) == (32 - 5) * (48 - 9) and not trusted[:, 43:].any()
    assert trusted_pixels((4, 4), TargetViewConfig()).all()


def test_parts_are_drawn_again_for_a_class(domains):
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:8, :8] = 3
    config, sampling = ViewConfig(crop=(32, 32)), CropSamplingConfig(min_crop_pixels=0)

    def hits(wanted):
        found = 0
        for seed in range(40):
            generator = torch.Generator().manual_seed(seed)
            view = draw_view_with(wanted, labels, config, sampling, generator)
            found += bool((view.labels(labels) == 3).any())
        return found

    assert hits(3) > 1.5 * hits(None) > 0


def test_statistics_are_needed(domains):
    source, target, _ = domains
    with pytest.raises(DataError, match="statistics"):
        DomainPairs(source, target, load_config(ImageConfig, **SETTINGS), 3)


def test_a_common_crop_and_other_colours(domains):
    same = {"source_view": {"crop": [24, 24], "flip": 0}, "target_view": {"crop": [24, 24], "flip": 0}}
    plain, cut = pairs(domains, **same), pairs(domains, **same, common_crop=[16, 8])
    for index in range(4):
        whole, part = plain[index], cut[index]
        places = [
            (top, left)
            for top in range(9)
            for left in range(17)
            if torch.equal(whole.source[:, top : top + 16, left : left + 8], part.source)
        ]
        ((top, left),) = places
        assert torch.equal(whole.target[:, top : top + 16, left : left + 8], part.target)
        assert part.labels.shape == part.trusted.shape == (16, 8)
    bright = {**same, "source_view": {**same["source_view"], "distortion": True}}
    changed = pairs(domains, **bright)
    assert any(not torch.equal(changed[i].source, plain[i].source) for i in range(4))
    assert all(torch.equal(changed[i].labels, plain[i].labels) for i in range(4))
    assert all(torch.equal(changed[i].target, plain[i].target) for i in range(4))
