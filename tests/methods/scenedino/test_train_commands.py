"""The commands of both stages on an own rig."""

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from methods.scenedino.posed_scenes import NoiseScenes
from nolabel.cli import app
from nolabel.structures.files import write_png

FRAMES, SIZE = 6, (64, 192)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    root = tmp_path_factory.mktemp("rig")
    scenes = NoiseScenes(FRAMES, 2, SIZE, classes=3)
    camera = {"fx": 96.0, "fy": 96.0, "cx": 95.5, "cy": 31.5}
    moved = [1, 0, 0, 0.5, 0, 1, 0, 0, 0, 0, 1, 0]
    content = {
        "cameras": {"left": camera, "right": {**camera, "to_rig": moved}},
        "splits": {"train": [0, 4], "val": [4, 6]},
    }
    (root / "rig.yaml").write_text(yaml.safe_dump(content))
    rows = []
    for frame in range(FRAMES):
        sample = scenes[frame]
        for view, name in enumerate(("left", "right")):
            picture = (255 * sample.images[view]).byte().permute(1, 2, 0).numpy()
            write_png(root / name / f"{frame:06d}.png", np.ascontiguousarray(picture))
        write_png(root / "labels" / f"{frame:06d}.png", sample.labels.byte().numpy())
        pose = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0.4 * frame]
        rows.append(" ".join(str(value) for value in [frame, *pose]))
    (root / "poses.txt").write_text("\n".join(rows))
    return root


def call(*words):
    result = CliRunner().invoke(app, ["scenedino", *map(str, words)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


SHORT = ["fit.steps=2", "fit.batch_size=1", "fit.checkpoint_every=1", "look.samples=1"]


def test_both_stages(rig, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    tiny = ("--data", rig, "--recipe", "scenedino/tiny")
    few = ["rays.patches=4", "rays.samples=4"]
    said = call("train", *tiny, "--out", first, *SHORT, *few)
    assert "cosine" in said and "distill" in said
    said = call("distill", "--from", first, *tiny, "--out", second, *SHORT, "samples=4", "rays=256")
    assert "code_clusters_miou" in said and (second / "model.safetensors").exists()
    again = call("distill", "--from", first, *tiny, "--out", second, *SHORT, "samples=4", "rays=256")
    assert "code_clusters_miou" in again
