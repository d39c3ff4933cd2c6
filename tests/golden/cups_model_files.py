"""Golden ``cups_model``: the recorded outputs again, from weights that come in the official file formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_official_files import OTHER_SALT, case_state, write_detectron2, write_dino, write_stage
from typer.testing import CliRunner

import nolabel
from golden.support import case_parameters, load_json, load_npz
from nolabel.cli import app
from nolabel.methods.cups.checkpoint import load_backbone
from nolabel.models.panoptic import PanopticCascadeMaskRCNN
from nolabel.structures.files import write_png
from nolabel.weights import load_checkpoint

pytestmark = pytest.mark.golden
EQUAL_PIXELS, SCORES = 0.98, 1e-4  # README table
FORMATS = ("stage 2", "stage 3, student", "stage 3, teacher", "detectron2 .pth", "detectron2 .pkl")


class Files:
    """One evaluation case: its network in the official formats, its images as files, its recorded outputs."""

    def __init__(self, case: Path, folder: Path) -> None:
        self.folder, self.meta = folder, load_json(case / "meta.json")
        self.expected, inputs = load_npz(case / "output.npz"), load_npz(case / "input.npz")
        self.images = {name: torch.from_numpy(inputs[name]) for name in sorted(inputs)}
        self.state, self.other = case_state(case), case_state(case, OTHER_SALT)

    def write(self, kind: str) -> tuple[Path, str]:
        """Write one format; return the file and which part of it holds the recorded network."""
        if kind == "stage 2":
            return write_stage(self.folder / "stage2.ckpt", self.state), "student"
        if kind == "stage 3, student":
            return write_stage(self.folder / "stage3.ckpt", self.state, self.other), "student"
        if kind == "stage 3, teacher":
            return write_stage(self.folder / "stage3_teacher.ckpt", self.other, self.state), "teacher"
        return write_detectron2(self.folder / f"panoptic{kind.split()[1]}", self.state), "student"

    def load(self, path: Path, part: str) -> Any:
        return nolabel.load(
            "cups",
            path,
            device="cpu",
            part=part,  # type: ignore[arg-type]
            confidence_threshold=self.meta["confidence_threshold"],
        )

    def alone(self) -> Iterator[tuple[int, str]]:
        """Yield the images that are not padded further in their batch: these give the recorded output by themselves."""
        sizes = [[-(-side // 32) * 32 for side in image.shape[-2:]] for image in self.images.values()]
        common = [max(size[axis] for size in sizes) for axis in (0, 1)]
        yield from ((i, name) for i, name in enumerate(self.images) if sizes[i] == common)


@pytest.fixture(scope="module", params=case_parameters("cups_model", "*_eval"))
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    torch.set_num_threads(1)
    return Files(request.param, tmp_path_factory.mktemp("official"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_official_files_give_the_recorded_output(files: Files, kind: str) -> None:
    path, part = files.write(kind)
    network = files.load(path, part).model.network
    path.unlink()
    counts = network.config.num_things, network.config.num_stuff
    assert counts == (files.meta["T"], files.meta["S"])
    assert len(network.state_dict()) == len(files.state)
    predictions = network.predict([image.float() / 255 for image in files.images.values()])
    for image, prediction in enumerate(predictions):
        scores = files.expected[f"det_scores_{image}"]
        found = np.sort(prediction.instances.scores.numpy())[::-1]
        common = min(len(scores), len(found))
        close = np.abs(found[:common] - np.sort(scores)[::-1][:common]) <= SCORES
        assert close.sum() >= 0.95 * len(scores)
        assert (prediction.semantic.numpy() == files.expected[f"sem_argmax_{image}"]).mean() >= EQUAL_PIXELS
        standard = torch.stack(prediction.cluster_maps(), dim=-1).numpy()
        same = (standard == files.expected[f"standard_{image}"]).all(axis=-1)
        assert same.mean() >= EQUAL_PIXELS, f"image {image}: {same.mean()}"


@pytest.mark.slow
@pytest.mark.parametrize("converted", [False, True], ids=["checkpoint", "converted"])
def test_the_command_gives_the_recorded_output(files: Files, converted: bool) -> None:
    """``nolabel cups predict CHECKPOINT IMAGE --part teacher``, with and without ``nolabel convert`` before it."""
    path, part = files.write("stage 3, teacher")
    if converted:
        run("convert", path, files.folder / "converted", "--part", part)
        path.unlink()
        path = next((files.folder / "converted").glob("*.safetensors"))
    out, threshold = files.folder / "out", files.meta["confidence_threshold"]
    classes = files.load(path, part).model.lookup().numpy()
    chosen = list(files.alone())
    assert chosen
    for index, name in chosen:
        image = write_png(files.folder / f"{name}.png", files.images[name].permute(1, 2, 0).numpy())
        options = ["--part", part, "--confidence-threshold", threshold, "--device", "cpu"]
        run("cups", "predict", path, image, "--out", out, *options)
        standard = files.expected[f"standard_{index}"].astype(np.int64)
        wanted = classes[standard[..., 0]]
        semantic, instance = (read(out / f"{name}_{kind}.png") for kind in ("semantic", "instance"))
        same = (semantic == wanted) & (instance == np.where(wanted == 255, 0, standard[..., 1]))
        assert same.mean() >= EQUAL_PIXELS, f"{name}: {same.mean()}"
    path.unlink()


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def read(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture).astype(np.int64)


def test_the_pretrained_resnet_fills_the_backbone(files: Files) -> None:
    path = write_dino(files.folder / "dino_RN50_pretrain_d2_format.pkl", files.state)
    network = PanopticCascadeMaskRCNN(files.load(*files.write("stage 2")).model.network.config)
    load_backbone(network, load_checkpoint(path).state_dict)
    state = network.state_dict()
    resnet = [n for n in files.state if n.startswith("backbone.bottom_up.") and "num_batches" not in n]
    assert resnet and all(torch.equal(state[name], files.state[name]) for name in resnet)
