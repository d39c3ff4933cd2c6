import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.labelling_tasks import NoiseTask, PlacedTask
from nolabel.engine.executors import record_path, worker_device
from nolabel.engine.labelling import estimate, label_items, read_failures, read_records, shard_range
from nolabel.errors import ConfigError, DataError, NolabelError, WeightsError


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, the records too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    label_items(NoiseTask(), tmp_path / "whole", progress=False)
    return tree(tmp_path / "whole")


def test_two_shards_give_the_bytes_of_one_run(tmp_path, whole):
    for shard in ("2/2", "1/2"):
        label_items(NoiseTask(), tmp_path / "parts", shard=shard, progress=False)
    assert tree(tmp_path / "parts") == whole
    assert list(read_records(tmp_path / "parts")) == NoiseTask().items()


def test_processes_give_the_bytes_of_one_process_and_set_up_once_each(tmp_path, whole):
    (tmp_path / "setups").mkdir()
    task = NoiseTask(setups=tmp_path / "setups")
    summary = label_items(task, tmp_path / "out", executor="processes", workers=2, progress=False)
    assert tree(tmp_path / "out") == whole
    assert list(summary.records) == task.items()
    assert 1 <= len(list((tmp_path / "setups").iterdir())) <= 2


@pytest.mark.slow
def test_ray_gives_the_bytes_of_one_process(tmp_path, whole):
    pytest.importorskip("ray")
    summary = label_items(NoiseTask(bad=(3,)), tmp_path / "out", executor="ray", workers=2, progress=False)
    assert [name for name, _ in summary.failed] == ["city/clip 003"]
    label_items(NoiseTask(), tmp_path / "out", executor="ray", workers=2, progress=False)
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_corrupt_item_is_reported_and_the_rest_goes_on(tmp_path, executor, whole, capsys):
    task = NoiseTask(bad=(2, 5))
    summary = label_items(task, tmp_path / "out", executor=executor, workers=2)
    assert summary.done == 6
    assert summary.failed == [
        ("city/clip 002", "image 2 is corrupt"),
        ("city/clip 005", "image 5 is corrupt"),
    ]
    shown = capsys.readouterr().err
    assert "image 2 is corrupt" in shown and str(tmp_path / "out") in shown
    again = label_items(NoiseTask(), tmp_path / "out", progress=False)
    assert (again.done, again.skipped, again.failed) == (2, 6, [])
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_bug_stops_the_run_names_the_item_and_loses_nothing(tmp_path, executor):
    with pytest.raises(RuntimeError, match=r"(?s)'city/clip 006'.*ZeroDivisionError"):
        label_items(NoiseTask(bug=6), tmp_path / "out", executor=executor, workers=1, progress=False)
    assert label_items(NoiseTask(), tmp_path / "out", progress=False).skipped >= 6


def test_broken_setup_and_full_disk_end_the_run(tmp_path):
    with pytest.raises(WeightsError, match="gone"):
        label_items(NoiseTask(broken_setup=True), tmp_path / "a", executor="processes", progress=False)
    with pytest.raises(NolabelError, match="disk is full"):
        label_items(NoiseTask(full=1), tmp_path / "a", progress=False)
    assert label_items(NoiseTask(), tmp_path / "a", progress=False).skipped == 1


def test_damaged_results_are_made_again(tmp_path, whole):
    out = tmp_path / "whole"
    (out / "a/1.bin").unlink()
    (out / "a/2.bin").write_bytes(b"half")
    record_path(out, "city/clip 003").write_bytes(b"")
    assert label_items(NoiseTask(), out, progress=False).done == 3
    assert tree(out) == whole


def test_other_settings_are_refused_unless_overwritten(tmp_path, whole):
    out = tmp_path / "whole"
    (out / "mine.txt").write_text("not the tool's")
    other = NoiseTask(count=3, fingerprint="other")
    with pytest.raises(ConfigError, match="--overwrite"):
        label_items(other, out, progress=False)
    assert label_items(other, out, overwrite=True, shard="1/2", progress=False).done == 1
    assert label_items(other, out, overwrite=True, shard="2/2", progress=False).done == 2
    assert not (out / "a/5.bin").exists() and (out / "mine.txt").exists()


def test_items_may_not_share_names_or_files_or_leave_the_folder(tmp_path):
    class Odd(NoiseTask):
        def items(self):
            return ["x", "y", "x"]

    with pytest.raises(DataError, match="'x'"):
        label_items(Odd(), tmp_path / "a", progress=False)

    class Same(NoiseTask):
        def process(self, state, index):
            return super().process(state, 0)

    with pytest.raises(RuntimeError, match=r"both write a/0\.bin"):
        label_items(Same(), tmp_path / "b", progress=False)

    class Out(NoiseTask):
        def process(self, state, index):
            result = super().process(state, index)
            result.files["../x"] = b""
            return result

    with pytest.raises(RuntimeError, match="outside its folder"):
        label_items(Out(), tmp_path / "c", progress=False)
    assert not (tmp_path / "x").exists()


@given(st.integers(0, 200), st.integers(1, 20))
def test_shards_are_a_partition_in_order(count, parts):
    together = [i for part in range(1, parts + 1) for i in shard_range(count, f"{part}/{parts}")]
    assert together == list(range(count))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", ""])
def test_impossible_shards_are_refused(shard):
    with pytest.raises(ConfigError, match="I/N"):
        shard_range(10, shard)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=8, unique=True))
def test_records_of_different_names_are_different_files(names):
    paths = {record_path(Path("o"), name) for name in names}
    assert len(paths) == len(names)
    assert all(path.parent == Path("o/.labelling/items") and len(path.name) < 250 for path in paths)


def test_estimate_counts_what_is_left(tmp_path):
    label_items(NoiseTask(), tmp_path, shard="1/2", progress=False)
    before = tree(tmp_path)
    forecast = estimate(NoiseTask(), tmp_path, sample=2)
    assert (forecast.items, forecast.left) == (8, 4)
    assert forecast.bytes_per_item == pytest.approx(4004.5)
    assert tree(tmp_path) == before


def start(out: Path, count: int, seconds: float, executor: str) -> subprocess.Popen:
    script = Path(__file__).with_name("labelling_tasks.py")
    source = Path(__file__).parents[2] / "src"
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(count), str(seconds), executor],
        env={**os.environ, "PYTHONPATH": f"{source}:{script.parents[1]}", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it sends to the background with Ctrl-C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(out: Path, count: int) -> None:
    for _ in range(6000):  # a busy machine takes minutes to start processes
        if len(list((out / ".labelling" / "items").glob("*.json"))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was labelled")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_killed_and_started_again_gives_the_same_bytes(tmp_path, executor):
    out = tmp_path / "killed"
    process = start(out, 30, 0.05, executor)
    wait_for(out, 5)
    process.kill()
    process.wait()
    time.sleep(0.5)  # the orphans notice
    count = len(list((out / ".labelling" / "items").glob("*.json")))
    time.sleep(0.3)
    assert len(list((out / ".labelling" / "items").glob("*.json"))) == count, "workers outlive their parent"
    summary = label_items(NoiseTask(count=30), out, progress=False)
    assert 5 <= summary.skipped < 30
    label_items(NoiseTask(count=30), tmp_path / "whole", progress=False)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = start(tmp_path, 2000, 0.05, "processes")
    wait_for(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "of 2000 items done" in shown and "run the same command again" in shown


def test_processes_take_the_gpus_in_turn(tmp_path):
    task = PlacedTask(count=12, fingerprint="placed")
    records = label_items(task, tmp_path, executor="processes", workers=4, progress=False).records
    devices = {record["device"] for record in records.values()}
    assert devices == {"cuda:0", "cuda:1", "cuda:2"}


def test_named_devices_are_taken_as_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [worker_device(name) for name in ("cpu", "cuda:2", "cuda")] == ["cpu", "cuda:2", "cuda:0"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert worker_device("cuda") == "cuda"


def test_failures_are_read_back_until_they_are_done(tmp_path):
    label_items(NoiseTask(bad=(2,)), tmp_path, progress=False)
    assert read_failures(tmp_path) == {"city/clip 002": ("image 2 is corrupt", "fetch it again")}
    label_items(NoiseTask(), tmp_path, progress=False)
    assert read_failures(tmp_path) == {}
