"""Counting pseudo classes and calling some of them things."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nolabel.errors import DataError
from nolabel.methods.cups.statistics import (
    PseudoClassStatistics,
    load_statistics,
    save_statistics,
    split_things_and_stuff,
    statistics_from_files,
)
from nolabel.structures.files import write_png


def counted() -> PseudoClassStatistics:
    statistics = PseudoClassStatistics.zeros(4)
    semantic = torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2], [1, 1, 3, 3]])
    instances = torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2], [0, 0, 3, 3]])
    statistics.update(semantic, instances)
    return statistics


def test_counts() -> None:
    statistics = counted()
    assert statistics.all_pixels.tolist() == [4, 4, 2, 2]
    assert statistics.inside_proposals.tolist() == [0, 2, 2, 2]
    assert statistics.per_proposal.tolist() == [0, 1, 1, 1]
    assert (statistics + statistics).images == 2


def test_split_follows_the_share_of_moving_pixels() -> None:
    split = split_things_and_stuff(counted(), threshold=0.3)  # ratios 0, .5, 1, 1 -> shares 0, .2, .4, .4
    assert split.things == (2, 3)
    assert split.stuff == (1, 0)
    assert split.ratios == pytest.approx((0, 0.2, 0.4, 0.4), abs=1e-5)
    # weights: pixels of the class / (all pixels * number of classes); one entry for all things
    assert split.class_weights == pytest.approx((4 / 48, 4 / 48, 4 / 48))


def test_without_objects_everything_is_stuff() -> None:
    statistics = PseudoClassStatistics.zeros(3)
    statistics.update(torch.tensor([[0, 1, 2, 2]]), torch.zeros(1, 4, dtype=torch.long))
    assert split_things_and_stuff(statistics).things == ()
    assert len(split_things_and_stuff(statistics).stuff) == 3


def test_all_above_the_threshold_is_a_quirk_of_the_original() -> None:
    statistics = PseudoClassStatistics.zeros(2)
    statistics.update(torch.tensor([[0, 1]]), torch.tensor([[1, 2]]))
    assert split_things_and_stuff(statistics).things == (0, 1)
    assert split_things_and_stuff(statistics, reference_compat=True).things == ()


def test_a_class_beyond_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="pseudo class 9"):
        PseudoClassStatistics.zeros(4).update(torch.tensor([[9]]), torch.tensor([[0]]))


def test_files_and_json_give_the_same_counts(tmp_path: Path) -> None:
    for name, shift in (("a", 0), ("b", 1)):
        semantic = (torch.arange(24).reshape(4, 6) + shift) % 5
        write_png(tmp_path / f"{name}_semantic.png", semantic.byte().numpy())
        write_png(tmp_path / f"{name}_instance.png", (semantic == 2).byte().numpy())
    write_png(
        tmp_path / "half_instance.png", torch.zeros(2, 2).byte().numpy()
    )  # no semantic map: not counted
    statistics = statistics_from_files(tmp_path, 5)
    assert statistics.images == 2
    assert int(statistics.all_pixels.sum()) == 48
    split = save_statistics(tmp_path / "pseudo_classes.json", statistics, 0.08)
    assert split.things == (2,)
    assert torch.equal(load_statistics(tmp_path).inside_proposals, statistics.inside_proposals)


def test_official_files_of_all_shards_are_summed(tmp_path: Path) -> None:
    keys = ("all pixels", "inside object proposals", "per object proposal")
    for shard in (1, 2):
        counts = {f"distribution {key}": torch.arange(27) * shard * (i + 1) for i, key in enumerate(keys)}
        torch.save(counts, tmp_path / f"pseudo_classes_split_{shard}.pt")
    statistics = load_statistics(tmp_path)
    assert torch.equal(statistics.all_pixels, torch.arange(27) * 3)
    assert torch.equal(statistics.per_proposal, torch.arange(27) * 9)


def test_missing_and_broken_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither pseudo_classes\.json"):
        load_statistics(tmp_path)
    (tmp_path / "pseudo_classes.json").write_text("{}")
    with pytest.raises(DataError, match="not a file of pseudo-class counts"):
        load_statistics(tmp_path)
    write_png(tmp_path / "a_semantic.png", torch.zeros(2, 2).byte().numpy())
    (tmp_path / "a_instance.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(DataError, match="a_instance"):
        statistics_from_files(tmp_path, 3)
