"""The bank of rare patches: its index, what it draws, and reading ahead."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nolabel.data.sampling import ClassStatistics
from nolabel.errors import DataError
from nolabel.methods.quadmix.mixing_config import RareClassesConfig, WindowConfig
from nolabel.methods.quadmix.patches import (
    PatchBank,
    PatchReader,
    frames_with_class,
    visible_statistics,
)

SIZE = (20, 30)


class Frames:
    """Class k + 1 covers a 4 x 4 square of frame k, class 9 one pixel; the picture is 10 times the label."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.pictures_read = count, 0

    def __len__(self) -> int:
        return self.count

    def labels(self, index: int) -> Tensor:
        labels = torch.zeros(SIZE, dtype=torch.uint8)
        labels[8:12, 13:17] = index + 1
        labels[0, 0] = 9
        return labels

    def image(self, index: int) -> Tensor:
        self.pictures_read += 1
        return (self.labels(index) * 10).expand(3, *SIZE)


def make_bank(
    content: str = "composite", window: WindowConfig | None = None, **rare: object
) -> tuple[PatchBank, Frames]:
    frames = Frames()
    settings = RareClassesConfig.model_validate(
        {"classes": (1, 2, 3), "number": 2, "min_pixels": 8, "content": content} | rare
    )
    statistics = visible_statistics(frames, ["a", "b", "c"], 19, window)
    return PatchBank(frames, frames_with_class(statistics, settings), settings, (8, 10), window), frames


def test_the_index_lists_frames_with_enough_pixels_where_windows_reach():
    rare = RareClassesConfig(classes=(1, 2, 7, 9), min_pixels=15, min_pixels_of={9: 0, 2: 16})
    whole = visible_statistics(Frames(), ["a", "b", "c"], 19)
    assert {c: f.tolist() for c, f in frames_with_class(whole, rare).items()} == {1: [0], 9: [0, 1, 2]}
    low = WindowConfig(size=(8, 10), rows=(4, 6), columns=(2, 10))
    part = visible_statistics(Frames(), ["a", "b", "c"], 19, low)
    assert {c: f.tolist() for c, f in frames_with_class(part, rare).items()} == {1: [0]}
    assert isinstance(part, ClassStatistics)


@pytest.mark.parametrize("content", ["composite", "iteration"])
def test_patches_show_their_class(content):
    bank, _ = make_bank(content)
    for seed in range(10):
        plan = bank.draw(torch.Generator().manual_seed(seed), batch=3)
        patches = bank.read(plan)
        sets = 2 if content == "composite" else 1
        assert patches.frames.shape == (sets, 3, 2, 3, 8, 10)
        assert len(set(plan.rare_classes)) == 2
        assert (patches.masks.sum((-1, -2)) > 8).all()
        for place, class_id in enumerate(plan.rare_classes):
            picked = patches.frames[:, :, place, 0][patches.masks[:, :, place]]
            assert (picked == 10 * class_id).all()


def test_patches_share_the_window_of_their_sample():
    bank, _ = make_bank("iteration", WindowConfig(size=(8, 10), rows=(6, 8), columns=(8, 12)), ascending=True)
    plan = bank.draw(torch.Generator().manual_seed(0), batch=4)
    assert plan.window is not None and list(plan.rare_classes) == sorted(plan.rare_classes)
    corners = [list(patch[1:]) for patch in plan.patches]
    assert corners == plan.window.repeat_interleave(2, 0).tolist()


def test_a_listed_class_that_repeats_is_drawn_more_often():
    bank, _ = make_bank(classes=(1, 1, 1, 2), number=1)
    drawn = [bank.draw(torch.Generator().manual_seed(s), 1).rare_classes[0] for s in range(300)]
    assert 0.65 < drawn.count(1) / 300 < 0.85


def test_a_window_that_never_shows_enough_ends_with_the_best():
    bank, _ = make_bank("iteration", WindowConfig(size=(8, 10)))
    bank.window = WindowConfig(size=(8, 10), rows=(0, 0))
    patches = bank.read(bank.draw(torch.Generator().manual_seed(0), 1))
    assert not patches.masks.any()


def test_pictures_are_decoded_for_accepted_patches_and_once():
    bank, frames = make_bank()
    plan = bank.draw(torch.Generator().manual_seed(0), 2)
    assert frames.pictures_read == 0
    bank.read(plan)
    bank.read(plan)
    assert frames.pictures_read == len({patch.frame for patch in plan.patches})


def test_no_frame_with_a_rare_class():
    with pytest.raises(DataError, match="rare classes"):
        make_bank(min_pixels=100)


def test_reading_ahead_changes_nothing():
    reader = PatchReader(make_bank()[0], batch=2, seed=7)
    straight = [reader(step) for step in range(4)]
    reader.close()
    resumed = PatchReader(make_bank()[0], batch=2, seed=7, ahead=0)
    for step in (2, 3):
        plan, patches = resumed(step)
        assert plan.patches == straight[step][0].patches
        assert torch.equal(patches.frames, straight[step][1].frames)
    resumed.close()
    assert straight[0][0].patches != straight[1][0].patches


def test_errors_of_the_reading_thread_are_raised():
    bank, _ = make_bank()

    def broken(index: int) -> Tensor:
        raise DataError(f"frame {index} is broken")

    bank.labels = broken
    reader = PatchReader(bank, batch=1, seed=0)
    with pytest.raises(DataError, match="is broken"):
        reader(0)
    reader.close()
