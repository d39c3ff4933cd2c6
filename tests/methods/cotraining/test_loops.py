"""The whole loop on a micro world: it runs, goes on after any kill, and refuses changed settings."""

import json
from pathlib import Path

import pytest
import torch

from nolabel.engine import run_folder
from nolabel.engine.segmentor_file import load_model
from nolabel.errors import ConfigError
from nolabel.methods.cotraining.pipeline import run_pipeline
from nolabel.structures import files
from tests.methods.cotraining.micro_world import open_world, settings, write_world


def run(world, out, config=None, validation=True):
    source, target, truth = open_world(world)
    return run_pipeline(
        source, target, out, config or settings(), validation=truth if validation else None, progress=False
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    torch.set_num_threads(1)
    return run(world, tmp_path_factory.mktemp("finished"))


def test_a_run_leaves_every_stage(finished):
    out = finished.out
    assert finished.model == out / "final" / "model.safetensors"
    assert list(finished.scores) == [
        "baseline",
        "self-training 1",
        "self-training 2",
        "co-training 1 A",
        "co-training 1 B",
        "co-training 2 A",
        "co-training 2 B",
        "final",
    ]
    assert all(0 <= value <= 1 for value in finished.scores.values())
    text = (out / "report.html").read_text()
    assert "Thresholds" in text and "Predictions" in text
    assert not list(out.rglob("*.prediction")) and not list(out.rglob("*.ckpt"))
    assert load_model(out).space.name == "cityscapes_19"


class Killed(BaseException):
    """As sudden as a kill: nothing may catch it."""


def kill_after(monkeypatch, count, stage):
    """Let the process die where it begins to write its ``count``-th file of a stage."""
    written = iter(range(10**6))
    write = files.atomic_path

    def dying(path, *args, **options):
        if stage in Path(path).parts and next(written) == count:
            raise Killed
        return write(path, *args, **options)

    for module in (files, run_folder):
        monkeypatch.setattr(module, "atomic_path", dying)


def results(out):
    """Everything that counts, by path: networks, labels, lists, what the cycles recorded."""
    found = {}
    for path in sorted(out.rglob("*")):
        relative = path.relative_to(out)
        if path.suffix in (".safetensors", ".png"):
            found[str(relative)] = path.read_bytes()
        elif path.name in ("manifest.json", "cycle.json") or path.suffix == ".txt":
            found[str(relative)] = path.read_text().replace(str(out), "OUT")
    return found


STAGES = ("translated", "baseline", "self_training", "co_training", "final_labels", "final")


@pytest.mark.slow
def test_killed_in_every_stage_the_same_command_goes_on(world, finished, tmp_path, monkeypatch):
    expected = results(finished.out)
    # The first file of a stage, one soon after it (the network of a training), and one in the middle of the cycles.
    cycles = {"self_training", "co_training"}
    for stage in STAGES:
        for count in (0, 4, 23) if stage in cycles else (0, 4):
            with monkeypatch.context() as patch, pytest.raises(Killed):
                kill_after(patch, count, stage)
                run(world, tmp_path / "run")
    run(world, tmp_path / "run")
    found = results(tmp_path / "run")
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def test_a_finished_run_is_not_done_again(world, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.safetensors")}
    assert run(world, finished.out).scores == finished.scores
    assert {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.safetensors")} == before


def test_changed_settings_are_refused_by_name(world, finished):
    changed = settings(co_training={**settings().co_training.model_dump(), "min_pixels": 7})
    with pytest.raises(ConfigError, match=r"co_training\.min_pixels was 0, now 7"):
        run(world, finished.out, changed)


def test_every_set_of_labels_says_how_it_was_made(finished):
    manifests = sorted(finished.out.rglob("manifest.json"))
    # Self-training: 2 cycles and 1 anew; co-training: twice that for two branches; and the final set.
    assert len(manifests) == 3 + 2 * 3 + 1
    manifest = json.loads((finished.out / "co_training/cycle_01/b/pseudo_labels/manifest.json").read_text())
    assert len(manifest["thresholds"]) == 20 and manifest["seed"] == 6
    assert len(manifest["images"]) == 3 and len(manifest["network_sha256"]) == 64
    assert set(manifest["images"][0]) >= {"name", "image", "score", "pixels"}


def test_both_branches_may_have_networks_of_their_own(world, tmp_path):
    small = {"cycles": 1, "training": settings().self_training.training.model_dump()}
    config = settings(
        network_b={"name": "deeplab_v3_plus_tiny", "options": {"pyramid_channels": 16}},
        self_training={**small, "labels": settings().self_training.labels.model_dump()},
        co_training={**small, "labels": settings().co_training.labels.model_dump(), "min_pixels": 0},
        translation={"mode": "online"},
    )
    out = run(world, tmp_path / "run", config, validation=False).out
    names = [load_model(out / f"co_training/cycle_00/{branch}/training").architecture for branch in "ab"]
    assert names == ["tiny", "deeplab_v3_plus_tiny"]
