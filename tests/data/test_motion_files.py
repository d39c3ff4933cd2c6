"""Flow and disparity from files: every format gives the values back, and wrong files say what is wrong."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nolabel.data import FolderStereoVideo
from nolabel.data.motion_files import folder_hash, read_disparity, read_flow, read_map
from nolabel.errors import DataError
from nolabel.structures import Flow
from nolabel.structures.files import write_png

FLOW = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0)) * 20
DISPARITY = torch.rand(1, 6, 9, generator=torch.Generator().manual_seed(1)) * 60


def test_flow_formats(tmp_path: Path) -> None:
    Flow(FLOW).save(tmp_path, "a")
    png = read_flow(tmp_path / "a_flow.png")
    assert (png - FLOW).abs().max() <= 1 / 128
    np.save(tmp_path / "chw.npy", FLOW.numpy())
    np.save(tmp_path / "hwc.npy", FLOW.permute(1, 2, 0).numpy())
    assert torch.equal(read_flow(tmp_path / "chw.npy"), FLOW)
    assert torch.equal(read_flow(tmp_path / "hwc.npy"), FLOW)
    header = struct.pack("<fii", 202021.25, 9, 6)
    (tmp_path / "a.flo").write_bytes(header + FLOW.permute(1, 2, 0).numpy().astype("<f4").tobytes())
    assert torch.equal(read_flow(tmp_path / "a.flo"), FLOW)


def test_unknown_flow_is_nan_and_unknown_disparity_zero(tmp_path: Path) -> None:
    known = torch.ones(6, 9, dtype=torch.bool)
    known[2, 3] = False
    Flow(FLOW, known).save(tmp_path, "a")
    assert torch.equal(read_flow(tmp_path / "a_flow.png").isnan().any(0), ~known)
    array = DISPARITY[0].numpy().copy()
    array[1, 1] = np.nan
    np.save(tmp_path / "d.npy", array)
    assert read_disparity(tmp_path / "d.npy")[0, 1, 1] == 0


def test_disparity_formats(tmp_path: Path) -> None:
    write_png(tmp_path / "d.png", (DISPARITY[0].numpy() * 256).round().astype(np.uint16))
    assert (read_disparity(tmp_path / "d.png") - DISPARITY).abs().max() <= 1 / 512
    np.save(tmp_path / "d.npy", DISPARITY[0].numpy())
    assert torch.equal(read_disparity(tmp_path / "d.npy"), DISPARITY)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.zeros((3, 6, 9), np.float32))
    np.save(tmp_path / "negative.npy", -DISPARITY[0].numpy())
    write_png(tmp_path / "grey.png", np.zeros((6, 9), np.uint8))
    (tmp_path / "short.flo").write_bytes(b"PIEH")
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(DataError, match=r"\(3, 6, 9\)"):
        read_flow(tmp_path / "three.npy")
    with pytest.raises(DataError, match="negative"):
        read_disparity(tmp_path / "negative.npy")
    for read, name in ((read_disparity, "grey.png"), (read_flow, "short.flo"), (read_flow, "object.npy")):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)
    with pytest.raises(DataError, match="no flow_forward of frame 7"):
        read_map(tmp_path, "flow_forward", "7")
    with pytest.raises(DataError, match="no folder"):
        folder_hash(tmp_path)


def test_maps_are_scaled_and_cropped_like_images(stereo_folder: Path) -> None:
    video = FolderStereoVideo(stereo_folder, scale=0.5, crop=(16, 24))
    values = torch.arange(48.0 * 64).view(1, 48, 64)
    moved = video.fit_motion(0, values)
    # Half size is 24 x 32, cropped by 4 at every side: the pixel (8, 8) of the file comes first, in half pixels.
    assert moved.shape == (1, 16, 24) and moved[0, 0, 0] == values[0, 8, 8] / 2
    assert torch.equal(video.fit_motion(0, moved), moved)
    with pytest.raises(DataError, match="10x10"):
        video.fit_motion(0, torch.zeros(1, 10, 10))
