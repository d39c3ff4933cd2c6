"""UDASS video: readers of the data sets, histogram matching and evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, cases, load_npz
from nolabel.data import FlowFiles, VideoClips, target_offsets
from nolabel.data.colour_transfer import match_histograms
from nolabel.data.files import image_size
from nolabel.data.video_clips import TARGET_FLOWS
from nolabel.metrics import SYNTHIA_SEQ_REPORTED, SemanticQuality
from nolabel.models.video_segmentation import subtract_mean

pytestmark = pytest.mark.golden

TIES = 3  # pixels that may fall on the other side of a tie, README
TOLERANCE = 1e-6
HISTOGRAM = 2e-4 / 255  # README: grey levels
JPEG = 1  # grey level, README
INPUT = 1e-4  # of the mean-subtracted frames: float32 rounding of bytes that agree exactly

CLIP = ("cf", "kf")
TARGET = ("d", "c", "b", "a")


@pytest.mark.parametrize("path", case_parameters("udass_video", "evaluation"))
def test_evaluation(path):
    case = load_npz(path)
    classes = len(case["hist"])
    reported = range(classes) if len(case["reported_iou_f64"]) == classes else SYNTHIA_SEQ_REPORTED
    metric = SemanticQuality(classes, class_ids=tuple(reported))
    frames = sorted(name.removeprefix("label") for name in case if name.startswith("label"))
    for frame in frames:
        scores = torch.from_numpy(case[f"scores{frame}"])
        size = case[f"label{frame}"].shape
        prediction = F.interpolate(scores, size, mode="bilinear", align_corners=True).argmax(1)[0]
        assert np.count_nonzero(prediction.numpy() != case[f"pred{frame}"]) < TIES
        metric.update(torch.from_numpy(case[f"pred{frame}"]), torch.from_numpy(case[f"label{frame}"]))
    np.testing.assert_array_equal(metric.confusion[:, :-1].numpy(), case["hist"])
    result = metric.compute()
    np.testing.assert_allclose(result.iou, case["iou_f64"], atol=TOLERANCE)
    np.testing.assert_allclose(result.iou[list(reported)], case["reported_iou_f64"], atol=TOLERANCE)
    np.testing.assert_allclose(round(100 * result.miou, 2), case["miou"], atol=TOLERANCE)


def reader_trees() -> list:
    found = [path for path in cases("udass_video", "readers") if path.is_dir()]
    return [pytest.param(path, id=path.name) for path in found] or case_parameters("udass_video", "readers")


def same_frames(found: torch.Tensor, case: dict, names: tuple[str, ...], tolerance: float) -> None:
    for frame, name in zip(found, names, strict=True):
        np.testing.assert_allclose(subtract_mean(frame), case[name], atol=tolerance + INPUT, err_msg=name)
        if f"{name}_rgb" in case:
            difference = (frame * 255).round().numpy() - case[f"{name}_rgb"].astype(int)
            assert np.abs(difference).max() <= tolerance, name


@pytest.mark.parametrize("root", reader_trees())
def test_source_reader(root: Path) -> None:
    case = load_npz(root.with_name(f"{root.name}_expected.npz"))
    flow = FlowFiles(root / "src_flow")
    height, width = case["label"].shape
    picture = VideoClips(root / "src", size=None).clips[0][0].image
    native = image_size(picture)
    cut = (
        native[0] - height if native[1] == width else 0
    )  # the reader keeps the size and cuts rows, or resizes
    size = (height + cut, width)
    clips = VideoClips(root / "src", labelled=2, flow=flow, entries=root / "src.txt", size=size, bottom=cut)
    sample = clips[0]
    same_frames(sample["frames"], case, CLIP, JPEG if picture.suffix == ".jpg" else 0)
    np.testing.assert_array_equal(sample["labels"][0], case["label"])
    np.testing.assert_array_equal(sample["labels"][1], case["label_kf"])
    stored = np.load(next(iter((root / "src_flow").iterdir())))
    np.testing.assert_allclose(sample["flow"][0], stored.transpose(2, 0, 1) / 10, atol=1e-5)


@pytest.mark.parametrize("root", reader_trees())
def test_target_reader(root: Path) -> None:
    case = load_npz(root.with_name(f"{root.name}_expected.npz"))
    source = VideoClips(root / "src", entries=root / "src.txt")
    numbers = case["frames"].tolist()
    interval = numbers[0] - numbers[2]
    settings = {
        "offsets": target_offsets(interval),
        "labelled": 1,
        "entries": root / "trg.txt",
        "space": source.space,
        "size": case["d"].shape[1:],
    }
    clips = VideoClips(root / "city", flow=FlowFiles(root / "trg_flow"), flow_pairs=TARGET_FLOWS, **settings)
    assert [frame.number for frame in clips.clips[0]] == numbers
    sample = clips[0]
    same_frames(sample["frames"], case, TARGET, 0)
    np.testing.assert_array_equal(sample["labels"][0], case["target_label_input_size"])
    for (first, second), flow in zip(TARGET_FLOWS, sample["flow"], strict=True):
        name = f"{numbers[first]:06d}_{numbers[second]:06d}_int16_x10.npy"
        stored = np.load(next((root / "trg_flow").glob(f"*_{name}")))
        np.testing.assert_allclose(flow, stored.transpose(2, 0, 1) / 10, atol=1e-5)
    native = VideoClips(root / "city", native_labels=True, **settings)[0]
    np.testing.assert_array_equal(native["labels"][0], case["target_label_native"])


@pytest.mark.parametrize("path", case_parameters("udass_video", "hist_match"))
def test_histograms(path: Path) -> None:
    case = load_npz(path)
    image, reference = (
        torch.from_numpy(case[name]).permute(2, 0, 1) for name in ("source_rgb", "target_rgb")
    )
    matched = match_histograms(image, reference)
    np.testing.assert_allclose(matched, case["out_rgb_chw"][0] / 255, atol=HISTOGRAM)
