"""``nolabel unmore run``: interrupted in every stage, broken photographs, photographs without objects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from methods.unmore.object_scenes import SIZE, write_scenes
from nolabel.errors import ConfigError
from nolabel.methods.unmore import discovery, pipeline, pseudo_masks
from nolabel.methods.unmore.detector_training import DetectorTraining
from nolabel.methods.unmore.existence_training import ExistenceTraining
from nolabel.methods.unmore.label_files import read_label_file
from nolabel.methods.unmore.objectness_training import ObjectnessTraining
from nolabel.methods.unmore.pipeline import PipelineResult, run_pipeline
from nolabel.methods.unmore.pipeline_settings import PipelineConfig, load_pipeline
from nolabel.structures.files import write_png

SOURCES = Path(__file__).resolve().parents[3] / "src"
FIT = ("batch_size=4", "log_every=50", "workers=0")
SETTINGS = [
    *(f"{stage}.fit.{entry}" for stage in ("objectness", "existence", "detector") for entry in FIT),
    "votecut={side: 128, crf: {iterations: 1}}",
    "objectness={network: {options: {width: 16}}, objects: {min_area: 0}, targets: {size: 64, canvas: 64}}",
    "objectness={fit: {steps: 60, checkpoint_every: 15, validate_every: 60}, look: {samples: 4, pictures: 2}}",
    "existence={fit: {steps: 30, checkpoint_every: 10, validate_every: 30}, look: {samples: 4}, size: 32}",
    "discovery={rounds: 6, boundary_threshold: 0.2, largest_shrink: 64}",
    "selection={existence: 0.1, centre: 0, boundary: 0}",
    "detector={fit: {steps: 3, checkpoint_every: 1}, warmup_steps: 1, precise_norm_batches: 1}",
    "detector={data: {short_sides: [48]}, input_sides: [48, 64]}",
]
LEFT = (
    "votecut/labels.json",
    "objectness/model.safetensors",
    "existence/model.safetensors",
    "discovered/labels.json",
    "training.json",
    "detector/model.safetensors",
)


class PowerCut(BaseException):
    """Nothing may catch this."""


def settings(*more: str) -> PipelineConfig:
    return load_pipeline("unmore/tiny", [*SETTINGS, *more])


def run(photos: Path, out: Path, *more: str) -> PipelineResult:
    return run_pipeline(photos, out, settings(*more), device="cpu", progress=False)


def left(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in LEFT}


@pytest.fixture(scope="module", name="photos")
def photographs_of_all_kinds(tmp_path_factory) -> Path:
    """Five of an object each, one of nothing but background, one that is damaged."""
    photos, _ = write_scenes(tmp_path_factory.mktemp("photos"), 5)
    write_png(photos / "plain.png", np.full((*SIZE, 3), (40, 90, 60), np.uint8))
    (photos / "damaged.png").write_bytes((photos / "plain.png").read_bytes()[:60])
    return photos


@pytest.fixture(scope="module", name="whole")
def uninterrupted_run(photos, tmp_path_factory) -> PipelineResult:
    return run(photos, tmp_path_factory.mktemp("whole") / "run")


def test_a_damaged_photograph_is_named_once_and_the_rest_goes_on(whole) -> None:
    ((name, reason),) = whole.failed
    assert name == "damaged.png" and "damaged.png" in reason
    assert whole.model.is_file() and whole.report.is_file()
    for stage in ("votecut", "discovered"):
        names = [image.file_name for image in read_label_file(whole.out / stage / "labels.json")]
        assert names == ["plain.png", *(f"sub/{number}.png" for number in range(5))]


def test_a_photograph_without_objects_has_an_entry_without_annotations(whole) -> None:
    for file in ("votecut/labels.json", "discovered/labels.json", "training.json"):
        plain, *others = read_label_file(whole.out / file)
        assert plain.file_name == "plain.png" and len(plain.instances) == 0
        assert sum(len(image.instances) for image in others) >= 3, file


def test_done_is_done(photos, whole, monkeypatch) -> None:
    """The same call again computes nothing, changes nothing, and still names the damaged photograph."""
    before = left(whole.out)
    fail_at(monkeypatch, pseudo_masks, "find_masks", 1)
    fail_at(monkeypatch, discovery, "discover_images", 1)
    for task in (ObjectnessTraining, ExistenceTraining, DetectorTraining):
        fail_at(monkeypatch, task, "training_step", 1)
    again = run(photos, whole.out)
    assert left(whole.out) == before and again.failed == whole.failed


def test_other_settings_are_refused(photos, whole) -> None:
    with pytest.raises(ConfigError, match="selection"):
        run(photos, whole.out, "selection.centre=0.5")


def fail_at(monkeypatch, place: object, name: str, call: int) -> None:
    """Let a function fail at its so-many-th call, and work from then on."""
    works, calls = getattr(place, name), [0]

    def failing(*arguments, **options):
        calls[0] += 1
        if calls[0] == call:
            raise PowerCut(name)
        return works(*arguments, **options)

    monkeypatch.setattr(place, name, failing)


CUTS: tuple[tuple[object, str, int], ...] = (
    (pseudo_masks, "find_masks", 3),
    (ObjectnessTraining, "training_step", 5),
    (ObjectnessTraining, "after_step", 20),
    (ExistenceTraining, "training_step", 21),
    (pipeline, "discover_folder", 1),
    (discovery, "discover_images", 4),
    (pipeline, "prepare_labels", 1),
    (DetectorTraining, "training_step", 2),
    (DetectorTraining, "_measure_norms", 1),
    (pipeline, "write_report", 1),
)


def test_interrupted_everywhere_gives_the_same_bytes(photos, whole, tmp_path, monkeypatch) -> None:
    for place, name, call in CUTS:
        with monkeypatch.context() as patch:
            fail_at(patch, place, name, call)
            with pytest.raises(PowerCut, match=name):
                run(photos, tmp_path / "run")
    assert run(photos, tmp_path / "run").failed == whole.failed
    assert left(tmp_path / "run") == left(whole.out)


def one_of(pattern: str) -> Callable[[Path], bool]:
    return lambda out: any(out.glob(pattern))


KILLS: dict[str, Callable[[Path], bool]] = {
    "votecut": one_of("votecut/items/**/*.json"),
    "objectness": one_of("objectness/checkpoints/step_*.ckpt"),
    "existence": one_of("existence/checkpoints/step_*.ckpt"),
    "discovery": one_of("discovered/objects/**/*.json"),
    "detector": one_of("detector/checkpoints/step_*.ckpt"),
}


@pytest.mark.slow
def test_killed_in_every_stage_gives_the_same_bytes(photos, whole, tmp_path) -> None:
    """The command itself, killed (SIGKILL) in every stage of one run."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "nolabel", "unmore", "run", str(photos), "--out", str(out), *SETTINGS]
    paths = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command += ["--device", "cpu"]
    for stage, reached in KILLS.items():
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 1000
        while not reached(out) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, stage
        assert not (out / "report.html").exists()
    finished = subprocess.run(
        command, env=environment, check=False, timeout=1000, capture_output=True, text=True
    )
    assert finished.returncode == 1 and "failed: damaged.png" in finished.stderr
    assert left(out) == left(whole.out)
