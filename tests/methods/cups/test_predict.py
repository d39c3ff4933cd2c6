"""Prediction of batches, streams and folders with the embedded network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import nolabel
from nolabel.api import InstanceTracker, Pipeline
from nolabel.cli import app
from nolabel.data import CocoPanoptic, VideoFrames, to_image
from nolabel.engine.predicting import equal_batches
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.structures import load_coco_panoptic
from nolabel.viz import VideoFile, to_picture
from nolabel.world import Renderer, Rig, generate_scene


@pytest.fixture(scope="module")
def model() -> Pipeline:
    return nolabel.load("cups", device="cpu")


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    renderer = Renderer(generate_scene(3), rig=Rig(size=(64, 128)))
    return [renderer.frame(time / 10).image for time in range(4)]


def write(frames: list[torch.Tensor], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(to_picture(frame)).save(folder / f"frame_{index}.png")
    return folder


def test_batches_give_what_single_images_give(model: Pipeline, frames: list[torch.Tensor]) -> None:
    images = [*frames[:2], frames[2][:, :50, :70], *frames[3:]]
    singly = [model(image) for image in images]
    together = model(images, batch_size=3)
    assert [result.size for result in together] == [(64, 128), (64, 128), (50, 70), (64, 128)]
    for one, other in zip(singly, together, strict=True):
        assert (one.semantic == other.semantic).float().mean() > 0.995  # rounding differs at borders


def test_batches_hold_neighbours_of_one_size() -> None:
    sizes = [4, 4, 4, 5, 4, 5, 5]
    batches = list(equal_batches(((i, torch.zeros(3, size, 2)) for i, size in enumerate(sizes)), 2))
    assert [[i for i, _ in batch] for batch in batches] == [[0, 1], [2], [3], [4], [5, 6]]


def test_a_stream_is_read_frame_by_frame(model: Pipeline, frames: list[torch.Tensor]) -> None:
    taken: list[int] = []

    def camera() -> Iterator[np.ndarray]:
        for index in range(1_000_000):
            taken.append(index)
            yield to_picture(frames[index % len(frames)])

    results = model.stream(camera())
    first = [next(results) for _ in range(3)]
    assert taken == [0, 1, 2]
    assert [result.size for result in first] == [(64, 128)] * 3
    untracked = next(model.stream(camera(), track=False))
    assert torch.equal(untracked.semantic, first[0].semantic)


def test_a_stream_takes_a_tracker_of_ones_own(model: Pipeline, frames: list[torch.Tensor]) -> None:
    tracker = InstanceTracker(patience=0)
    results = list(model.stream([frames[0]] * 3, track=tracker))
    assert all(torch.equal(result.instance, results[0].instance) for result in results)
    ids = next(iter(model.stream([frames[0]], track=tracker))).instance.unique()
    assert torch.equal(ids, results[0].instance.unique())  # the same tracker goes on


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2)])
def test_tiny_images_have_results_of_their_size(model: Pipeline, size: tuple[int, int]) -> None:
    assert model(np.full((*size, 3), 90, np.uint8)).size == size


def test_output_size_and_largest_input(model: Pipeline, frames: list[torch.Tensor]) -> None:
    assert model(frames[0], output_size=(30, 50)).size == (30, 50)
    assert model(frames[0], max_side=64).size == (64, 128)
    assert not torch.equal(model(frames[0], max_side=32).semantic, model(frames[0]).semantic)
    for wrong in ({"output_size": (0, 5)}, {"batch_size": 0}, {"max_side": 0}):
        with pytest.raises(ConfigError):
            model(frames[0], **wrong)


def test_a_folder_becomes_files_other_tools_read(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path
) -> None:
    folder, out = write(frames[:2], tmp_path / "images"), tmp_path / "out"
    formats = ["labels", "instances", "coco", "cityscapes", "overlay", "gallery"]
    summary = model.save(folder, out, formats)
    assert (summary.count, summary.failed) == (2, [])
    assert summary.written == {
        "labels": 4, "instances": 1, "coco": 3, "cityscapes": 4, "overlay": 2, "gallery": 1
    }  # fmt: skip
    expected = model(folder / "frame_1.png")
    content = json.loads((out / "panoptic.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["frame_0.png", "frame_1.png"]
    assert {c["name"]: tuple(c["color"]) for c in content["categories"]}["car"] == (0, 0, 142)
    back = dict(load_coco_panoptic(out / "panoptic.json", CITYSCAPES_19))
    assert torch.equal(back["frame_1"].semantic, expected.semantic)
    labels = np.asarray(Image.open(out / "frame_1_semantic.png"))
    assert np.array_equal(labels, expected.semantic.numpy())
    coded = torch.from_numpy(
        np.asarray(Image.open(out / "gtFine/val/images/frame_1_gtFine_instanceIds.png")).astype(int)
    )
    assert torch.equal(coded, expected.cityscapes_ids())
    dataset = CocoPanoptic(out / "panoptic.json", folder)
    assert torch.equal(torch.as_tensor(dataset[1]["semantic"]), expected.semantic)
    assert "frame_1" in (out / "index.html").read_text()


def test_a_damaged_file_is_named_and_the_rest_goes_on(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path
) -> None:
    folder = write(frames[:3], tmp_path / "images")
    good = (folder / "frame_1.png").read_bytes()
    (folder / "frame_1.png").write_bytes(good[: len(good) // 2])
    summary = model.save(folder, tmp_path / "out", ["coco"], batch_size=2)
    assert summary.count == 2 and [name for name, _ in summary.failed] == ["frame_1"]
    card = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["name"] for entry in card["images"]] == ["frame_0", "frame_2"]
    assert card["failed"][0]["name"] == "frame_1"
    (folder / "frame_0.png").unlink()
    (folder / "frame_2.png").unlink()
    with pytest.raises(DataError, match="none of the 1 images"):
        model.save(folder, tmp_path / "none")
    assert not (tmp_path / "none" / "panoptic.json").exists()


def test_equal_names_of_several_sources_are_kept_apart(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path
) -> None:
    folders = [write(frames[:1], tmp_path / name / "images") for name in ("a", "b")]
    summary = model.save([*folders, folders[0] / "frame_0.png"], tmp_path / "out", ["labels"])
    assert summary.count == 3
    assert len(list((tmp_path / "out").glob("*_semantic.png"))) == 3


def test_a_video_is_tracked_and_written_as_a_video(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path
) -> None:
    with VideoFile(tmp_path / "drive.mp4", 5.0) as video:
        for frame in frames:
            video.add(frame)
    summary = model.save(tmp_path / "drive.mp4", tmp_path / "out")
    assert summary.count == len(frames) and summary.written["video"] == 1
    capture = cv2.VideoCapture(str(tmp_path / "out" / "drive.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == len(frames)
    assert len(model(tmp_path / "drive.mp4", batch_size=4)) == len(frames)


@pytest.mark.parametrize("formats", [[], ["colours"]])
def test_unknown_outputs_are_refused_before_any_work(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path, formats: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"chosen|no output"):
        model.save(write(frames[:1], tmp_path / "images"), tmp_path / "out", formats)
    assert not (tmp_path / "out").exists()


def test_images_of_every_kind_are_read_alike() -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    expected = torch.from_numpy(grey / 255.0).float().expand(3, -1, -1)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    alpha = np.dstack([rgb, np.full_like(grey, 7)])
    kinds = [
        grey, grey[..., None], rgb, alpha, rgb.transpose(2, 0, 1), (grey / 255.0), grey.astype(np.uint16) * 257,
        grey.astype(np.int64), Image.fromarray(grey), Image.fromarray(alpha), Image.fromarray(grey).convert("P"),
        Image.fromarray(grey.astype(np.uint16) * 257), torch.from_numpy(rgb).permute(2, 0, 1),
    ]  # fmt: skip
    for kind in kinds:
        assert to_image(kind).shape == (3, 4, 6)
        torch.testing.assert_close(to_image(kind), expected, atol=1e-6, rtol=0)
    turned = Image.fromarray(rgb)
    turned.getexif()[0x0112] = 6
    assert to_image(turned).shape == (3, 6, 4)
    for wrong in (b"text", None, [[1, 2], [3]], np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(DataError):
            to_image(wrong)


def test_images_of_subfolders_keep_their_folders_in_their_names(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path
) -> None:
    for clip in ("a", "b"):
        write(frames[:2], tmp_path / "clips" / clip)
    summary = model.save(tmp_path / "clips", tmp_path / "out", ["coco", "video"], track=True, fps=4)
    assert summary.written["video"] == 2  # one for each clip
    back = dict(load_coco_panoptic(tmp_path / "out" / "panoptic.json", CITYSCAPES_19))
    assert list(back) == ["a_frame_0", "a_frame_1", "b_frame_0", "b_frame_1"]
    assert torch.equal(back["a_frame_0"].instance, back["b_frame_0"].instance)  # tracks start anew
    files = [
        image["file_name"] for image in json.loads((tmp_path / "out/panoptic.json").read_text())["images"]
    ]
    assert files[2] == "b/frame_0.png"


def test_a_video_that_ends_early_keeps_what_was_read(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoFile(tmp_path / "drive.mp4", 5.0) as video:
        for frame in frames:
            video.add(frame)
    length = VideoFrames.__len__
    monkeypatch.setattr(VideoFrames, "__len__", lambda self: length(self) + 3)
    summary = model.save(tmp_path / "drive.mp4", tmp_path / "out", ["video"])
    assert summary.count == len(frames) and len(summary.failed) == 1
    assert summary.failed[0][0] == f"drive_{len(frames):06d}" and "ends after" in summary.failed[0][1]
    assert (tmp_path / "out" / "drive.mp4").exists()


def test_images_that_do_not_fit_into_memory_are_reported(
    model: Pipeline, frames: list[torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = model.model.network.predict

    def too_small(images: torch.Tensor, sizes: list[tuple[int, int]]) -> object:
        if images.shape[-1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(images, sizes)

    monkeypatch.setattr(model.model.network, "predict", too_small)
    folder = write([frames[0], frames[1][:, :, :90]], tmp_path / "images")
    summary = model.save(folder, tmp_path / "out", ["labels"])
    assert summary.count == 1 and "do not fit into memory" in summary.failed[0][1]
    assert model(frames[0], max_side=64).size == (64, 128)


def test_the_command_leaves_with_code_1_when_an_image_failed(
    frames: list[torch.Tensor], tmp_path: Path
) -> None:
    folder, runner = write(frames[:2], tmp_path / "images"), CliRunner()
    command = ["cups", "predict", "embedded", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    options = ["--save", "coco, overlay", "--size", "32x64", "--confidence-threshold", "0.9", "--track"]
    good = runner.invoke(app, command + options)
    assert good.exit_code == 0 and "2 images predicted" in good.output
    assert Image.open(tmp_path / "out" / "overlay" / "frame_0.jpg").size == (64, 32)
    (folder / "frame_1.png").write_bytes(b"no image")
    bad = runner.invoke(app, command + options)
    assert bad.exit_code == 1 and "failed: frame_1" in bad.output
    wrong = runner.invoke(app, [*command, "--size", "large"])
    assert isinstance(wrong.exception, ConfigError)
