"""Discovery over folders: killed and resumed, in shards, with broken and empty images; its files; preparing labels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.unmore.painted import PaintedNetworks, painted_scene
from nolabel.errors import ConfigError, DataError
from nolabel.methods.unmore.discovery import discover_folder, photographs
from nolabel.methods.unmore.discovery_files import (
    read_boxes,
    read_scored_objects,
    write_boxes,
    write_scored_objects,
)
from nolabel.methods.unmore.label_files import read_label_file, write_label_file
from nolabel.methods.unmore.preparing import prepare_labels
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.selection import SelectionSettings
from nolabel.structures.files import write_png

SETTINGS = ReasoningSettings(rounds=6)
SCENES = {
    "000000000007.png": painted_scene(48, 64, [(22, 24, 14, 16)]),
    "000000000009.png": painted_scene(40, 56, []),
    "000000000012.png": painted_scene(56, 48, [(24, 26, 15, 17)]),
}


def write_scenes(folder: Path, scenes=None) -> Path:
    for name, scene in (scenes or SCENES).items():
        write_png(folder / name, (scene * 255).round().byte().permute(1, 2, 0).numpy())
    return folder


def find(root, out, **options):
    options = {"progress": False, **options}
    return discover_folder(photographs(root), PaintedNetworks(), out, SETTINGS, **options)


def joined(out):
    names = ("labels.json", "discovery_results.json", "object_discovery_with_scores.json")
    return {name: (out / name).read_bytes() for name in names}


@pytest.fixture(scope="module", name="done")
def finished_run(tmp_path_factory):
    """Photographs and what discovery made of them, with pictures."""
    base = tmp_path_factory.mktemp("discovery")
    root = write_scenes(base / "photos")
    summary = find(root, base / "out", overlays=True, animations=1)
    return root, base / "out", summary


def test_files_of_a_run(done):
    _, out, summary = done
    images = read_label_file(out / "labels.json")
    assert [(image.id, image.file_name) for image in images] == [
        (7, "000000000007.png"),
        (9, "000000000009.png"),
        (12, "000000000012.png"),
    ]
    counts = [len(image.instances) for image in images]
    assert counts[1] == 0 and counts[0] and counts[2] and sum(counts) == summary.objects
    scored = read_scored_objects(out / "object_discovery_with_scores.json", out / "labels.json")
    for image, again in zip(images, scored, strict=True):
        assert torch.equal(image.instances.scores, again.instances.scores)
        assert image.extra == again.extra
        assert set(image.extra) <= {"existence_score", "center_score", "boundary_score", "area_score"}
    boxes = read_boxes(out / "discovery_results.json")
    assert sorted(boxes) == ["12", "7"]
    assert f"{summary.objects} objects in 3 images" in str(summary)


def test_pictures_of_a_run(done):
    _, out, _ = done
    assert len(list((out / "overlays").glob("*.png"))) == 3
    with Image.open(out / "process" / "000000000007.png.webp") as animation:
        assert animation.n_frames >= 5
        first = np.asarray(animation.convert("RGB")).astype(int)
        animation.seek(animation.n_frames - 1)
        last = np.asarray(animation.convert("RGB")).astype(int)
    assert first.shape == last.shape and np.abs(first - last).max() > 50


def test_nothing_is_done_twice(done):
    root, out, _ = done
    before = joined(out)
    again = find(root, out)
    assert again.labelling.done == 0 and again.labelling.skipped == 3
    assert joined(out) == before


def test_shards_join(done, tmp_path):
    root, out, _ = done
    first = find(root, tmp_path, shard="1/2")
    assert first.images == 1
    find(root, tmp_path, shard="2/2")
    assert joined(tmp_path) == joined(out)


def test_images_together_and_a_broken_one(done, tmp_path):
    """The broken image of a group is named, its neighbours are found, and repairing it is enough."""
    _, out, _ = done
    photos = write_scenes(tmp_path / "photos")
    whole = (photos / "000000000009.png").read_bytes()
    (photos / "000000000009.png").write_bytes(whole[:60])
    summary = find(photos, tmp_path / "out", together=3)
    assert [name for name, _ in summary.labelling.failed] == ["000000000009.png"]
    assert summary.images == 2
    (photos / "000000000009.png").write_bytes(whole)
    summary = find(photos, tmp_path / "out", together=3)
    assert summary.labelling.done == 1 and summary.images == 3
    mine, theirs = (read_label_file(folder / "labels.json") for folder in (tmp_path / "out", out))
    for image, other in zip(mine, theirs, strict=True):
        assert [m["counts"] for m in image.instances.masks] == [m["counts"] for m in other.instances.masks]


@pytest.mark.slow
def test_killed_and_resumed(done, tmp_path):
    """Killed between images, the same command goes on and the files are those of an undisturbed run."""
    root, out, _ = done
    code = (
        "from tests_of_discovery import find; import sys; from pathlib import Path;"
        "find(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    (tmp_path / "tests_of_discovery.py").write_text(Path(__file__).read_text())
    paths = [*(str(Path(entry).resolve()) for entry in ("src", ".")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(tmp_path / "out")], env=environment
    )
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("out/.labelling/items/*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    summary = find(root, tmp_path / "out")
    assert summary.labelling.skipped >= 1
    assert joined(tmp_path / "out") == joined(out)


def test_other_settings_are_refused(done):
    root, out, _ = done
    with pytest.raises(ConfigError, match="other settings"):
        discover_folder(photographs(root), PaintedNetworks("others"), out, SETTINGS, progress=False)
    # How many crops a network sees at once is no other setting: after a lack of memory one goes on.
    settings = SETTINGS.replaced(batch_size=8)
    again = discover_folder(photographs(root), PaintedNetworks(), out, settings, progress=False)
    assert again.labelling.skipped == 3


def test_scores_of_given_boxes(done, tmp_path):
    root, out, _ = done
    boxes = out / "discovery_results.json"
    find(root, tmp_path / "out", boxes=boxes)
    assert joined(tmp_path / "out") == joined(out)
    with pytest.raises(DataError, match="has no boxes for any image"):
        find(root, tmp_path / "other", boxes=write_boxes(tmp_path / "boxes.json", [("x", [[0.0, 0, 1, 1]])]))
    (tmp_path / "bad.json").write_text('{"7": [[1, 2]]}')
    with pytest.raises(DataError, match="boxes by image id"):
        read_boxes(tmp_path / "bad.json")


def test_together_needs_one_process(done, tmp_path):
    with pytest.raises(ConfigError, match="within one process"):
        find(done[0], tmp_path, together=2, executor="processes")


def test_ids_of_photographs(tmp_path):
    root = write_scenes(
        tmp_path / "named", {"a/b.png": SCENES["000000000007.png"], "c.png": SCENES["000000000009.png"]}
    )
    listed = photographs(root)
    assert dict(zip(listed.names, listed.ids, strict=True)) == {"a/b.png": 1, "c.png": 2}
    (tmp_path / "coco.json").write_text(json.dumps({"images": [{"id": 77, "file_name": "b.png"}]}))
    listed = photographs(root, tmp_path / "coco.json")
    assert (listed.names, listed.ids) == (("a/b.png",), (77,))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        photographs(tmp_path / "empty")
    with pytest.raises(DataError, match="no folder"):
        photographs(tmp_path / "nowhere")


def test_labels_for_training(done, tmp_path):
    _, out, _ = done
    lenient = SelectionSettings(existence=0.1, centre=0.5, boundary=0.5)
    alone = prepare_labels(out, tmp_path / "alone.json", lenient)
    assert alone.kept >= 2 and alone.added == 0
    images = read_label_file(tmp_path / "alone.json")
    for image in images:
        assert image.instances.scores.tolist() == pytest.approx(image.extra.get("area_score", []))
    votecut = tmp_path / "votecut.json"
    content = json.loads((out / "labels.json").read_text())
    for number, row in enumerate(content["annotations"]):
        row["weight"] = 0.4 if number == 0 else 0.9
        del row["score"]
    votecut.write_text(json.dumps(content))
    both = prepare_labels(out / "labels.json", tmp_path / "both.json", lenient, labels=votecut)
    assert both.added == len(content["annotations"]) - 1
    ids = [image.id for image in read_label_file(tmp_path / "both.json")]
    assert ids == ["imagenet_7", "imagenet_9", "imagenet_12", "coco_7", "coco_9", "coco_12"]
    original = prepare_labels(
        out / "object_discovery_with_scores.json", tmp_path / "o.json", lenient, images=out / "labels.json"
    )
    assert original.kept == alone.kept
    with pytest.raises(DataError, match="is sure enough"):
        prepare_labels(out, tmp_path / "none.json", SelectionSettings(centre=2))
    with pytest.raises(DataError, match="no 'existence_score'"):
        prepare_labels(votecut_without_scores(tmp_path, images), tmp_path / "none.json")


def votecut_without_scores(folder, images):
    path = folder / "plain.json"
    content = json.loads(write_label_file(folder / "labels.json", images).read_text())
    for row in content["annotations"]:
        for name in [key for key in row if key.endswith("_score")]:
            del row[name]
    path.write_text(json.dumps(content))
    return path


def test_empty_lists_are_files(tmp_path):
    assert json.loads(write_boxes(tmp_path / "b.json", [(1, [])]).read_text()) == {}
    assert json.loads(write_scored_objects(tmp_path / "s.json", []).read_text()) == []
