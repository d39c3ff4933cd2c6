"""Own videos as clips, the recording car, flow that is estimated and kept, histogram matching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nolabel.data import EstimatedFlow, FlowFiles, NoFlow, VideoClips, fill_cache
from nolabel.data.colour_transfer import match_histograms
from nolabel.data.motion_files import read_flow
from nolabel.data.video_layouts import without_ego_vehicle
from nolabel.errors import DataError
from nolabel.structures.flow_tenths import TENTHS, encode_tenths, tenths

SIZE = (8, 12)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two clips; in the second one a frame is missing."""
    for clip, numbers in (("a", (1, 2, 3)), ("b", (5, 6, 8, 9))):
        for number in numbers:
            for kind in ("images", "labels"):
                place = tmp_path / kind / clip / f"{number:03d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                value = np.full((*SIZE, 3) if kind == "images" else SIZE, number, np.uint8)
                Image.fromarray(value).save(place)
    return tmp_path


class Counting:
    """An estimator that says how far the pictures' grey differs, and counts its calls."""

    calls = 0

    def flow(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return ((first - second) * 255)[:, :2] + 0.25


def test_pairs_never_bridge_a_missing_frame(own: Path) -> None:
    clips = VideoClips(own, labelled=2, flow=NoFlow())
    assert clips.layout.name == "folder"
    assert clips.names == ["a_002", "a_003", "b_006", "b_009"]
    sample = clips[2]
    assert (sample["frames"] * 255).round().amax((1, 2, 3)).tolist() == [6, 5]
    assert sample["labels"].amax((1, 2)).tolist() == [6, 5]
    assert not sample["flow"].any()


def test_estimated_flow_is_kept_and_read_by_the_files_reader(own: Path) -> None:
    estimator = Counting()
    source = EstimatedFlow(estimator, own / "flow")  # type: ignore[arg-type]
    clips = VideoClips(own, flow=source)
    assert list(fill_cache(clips, source)) == clips.names
    assert estimator.calls == len(clips)
    again = [sample["flow"] for sample in clips]
    assert estimator.calls == len(clips)
    assert torch.allclose(again[0], torch.tensor(1.2))  # 1.25 cut to tenths
    from_files = VideoClips(own, flow=FlowFiles(own / "flow"))
    assert all(torch.equal(sample["flow"], flow) for sample, flow in zip(from_files, again, strict=True))
    fresh = VideoClips(own, flow=EstimatedFlow(estimator))  # type: ignore[arg-type]
    assert torch.equal(fresh[0]["flow"], again[0])


def test_sizes_and_cut_apply_to_pictures_and_labels(own: Path) -> None:
    sample = VideoClips(own, labelled=1, size=(16, 24), bottom=6)[0]
    assert sample["frames"].shape == (2, 3, 10, 24)
    assert sample["labels"].shape == (1, 10, 24)


def test_beginnings_of_own_clips_are_no_samples(own: Path) -> None:
    clips = VideoClips(own, offsets=(0, -1, -2))
    assert clips.names == ["a_003"]
    with pytest.raises(DataError, match=r"none of 4 frames .* -3, -2"):
        VideoClips(own, offsets=(0, -2, -3))


def test_own_labels_are_read_in_the_space_that_is_asked_for(own: Path) -> None:
    ids = np.unique(np.stack([VideoClips(own, labelled=1, space="viper_15")[i]["labels"] for i in range(2)]))
    # Labels 2 (building) and 3 (wall, which VIPER's benchmark has not) of Cityscapes' 19.
    assert ids.tolist() == [2, 255]


def test_camvid_is_video_where_its_frames_follow_each_other(own: Path, tmp_path: Path) -> None:
    root = tmp_path / "camvid"
    for kind in ("images", "labels"):
        (root / kind / "val").mkdir(parents=True)
        (own / kind / "b").rename(root / kind / "val" / "0016E5")
    clips = VideoClips(root, split="val", labelled=1)
    assert (clips.layout.name, clips.space.name) == ("camvid", "camvid_11")
    assert clips.names == ["0016E5_006", "0016E5_009"]
    assert clips[0]["labels"].unique().tolist() == [6]


def test_unknown_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no video in a known layout"):
        VideoClips(tmp_path)


def test_only_the_car_below_the_middle_is_the_recording_one() -> None:
    raw = np.zeros((4, 7), np.int64)
    raw[3, 3] = raw[2, 4] = 24  # touches diagonally
    raw[3, 0] = raw[0, 3] = 24
    found = without_ego_vehicle(raw, 24)
    assert np.argwhere(found == 24).tolist() == [[0, 3], [3, 0]]
    assert np.array_equal(without_ego_vehicle(np.where(raw == 24, 0, raw), 24), np.zeros_like(raw))


@settings(max_examples=30)
@given(st.lists(st.integers(-32767, 32767), min_size=8, max_size=8))
def test_flow_files_keep_every_tenth(values: list[int]) -> None:
    flow = torch.tensor(values).reshape(2, 2, 2).float() / 10
    assert torch.equal(tenths(flow), flow)


def test_flow_files_are_read_back(tmp_path: Path) -> None:
    flow = torch.tensor([[[0.19, -0.19], [4000.0, torch.nan]], [[1.0, 2.0], [3.0, 4.05]]])
    path = tmp_path / f"x{TENTHS}"
    path.write_bytes(encode_tenths(flow))
    expected = torch.tensor([[[0.1, -0.1], [3276.7, 0.0]], [[1.0, 2.0], [3.0, 4.0]]])
    assert torch.equal(read_flow(path), expected)
    assert np.load(path).shape == (2, 2, 2)
    assert np.load(path).dtype == np.int16


def test_histograms_of_the_reference_are_taken_over() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randint(0, 256, (3, 40, 50), generator=generator, dtype=torch.uint8)
    # The same values elsewhere come back as they are; a monotone change of them is undone.
    shuffled = reference.flatten(1)[:, torch.randperm(2000, generator=generator)].reshape(3, 50, 40)
    assert torch.allclose(match_histograms(shuffled, reference) * 255, shuffled.float(), atol=1e-4)
    assert torch.allclose(match_histograms(shuffled // 2, reference) * 255, shuffled.float(), atol=1.5)
    assert torch.equal(
        match_histograms(shuffled / 255, reference / 255), match_histograms(shuffled, reference)
    )
