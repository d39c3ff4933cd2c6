"""Functions in processes of their own: their results, errors, and being stopped."""

import os
import signal
import sys
import threading
import time
from functools import partial

import pytest
import torch

from nolabel.engine.interrupts import interrupts
from nolabel.engine.side_by_side import side_by_side
from nolabel.errors import DataError, NolabelError


def whereabouts(value):
    print(f"working on {value}", file=sys.stderr)
    return value, os.getpid(), torch.get_num_threads()


def until_asked(folder, name):
    """Works until someone asks it to stop, and leaves a file then, as a training leaves a checkpoint."""
    (folder / f"{name}.began").touch()
    with interrupts() as interrupt:
        while not interrupt.asked:
            time.sleep(0.02)
    (folder / f"{name}.saved").touch()
    raise KeyboardInterrupt


def failing(folder):
    while not (folder / "other.began").exists():
        time.sleep(0.02)
    raise DataError("no labels", hint="make some")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def both_begun(folder, names):
    return all((folder / f"{name}.began").exists() for name in names)


@pytest.mark.parametrize("parallel", [False, True])
def test_results_come_back_by_name(parallel, capfd):
    found = side_by_side({"A": partial(whereabouts, 1), "B": partial(whereabouts, 2)}, parallel=parallel)
    assert [value for value, _, _ in found.values()] == [1, 2] and list(found) == ["A", "B"]
    places = {place for _, place, _ in found.values()}
    assert (os.getpid() in places, len(places)) == ((False, 2) if parallel else (True, 1))
    assert {threads for _, _, threads in found.values()} == {torch.get_num_threads()}
    lines = set(capfd.readouterr().err.splitlines())
    assert lines >= ({"[A] working on 1", "[B] working on 2"} if parallel else {"working on 1"})


def test_an_error_stops_the_other_and_is_raised_here(tmp_path):
    jobs = {"one": partial(failing, tmp_path), "other": partial(until_asked, tmp_path, "other")}
    with pytest.raises(DataError, match="no labels") as caught:
        side_by_side(jobs, parallel=True)
    assert caught.value.hint == "make some" and (tmp_path / "other.saved").exists()


def test_a_killed_process_is_named(tmp_path):
    with pytest.raises(NolabelError, match="process of B died"):
        side_by_side({"A": partial(until_asked, tmp_path, "A"), "B": die}, parallel=True)


def test_one_interrupt_lets_both_save(tmp_path):
    def interrupt():
        while not both_begun(tmp_path, "AB"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        side_by_side({name: partial(until_asked, tmp_path, name) for name in "AB"}, parallel=True)
    assert all((tmp_path / f"{name}.saved").exists() for name in "AB")
