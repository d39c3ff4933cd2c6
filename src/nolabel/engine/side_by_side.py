"""A few long functions at the same time, each in a process of its own: two networks that train beside each other."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import connection
from typing import Any, TypeVar

import torch

from nolabel.engine.executors import die_with_parent
from nolabel.engine.interrupts import interrupts
from nolabel.errors import NolabelError

__all__ = ["side_by_side"]

Result = TypeVar("Result")
PATIENCE = 0.1  # seconds to wait for each process before looking whether someone asked to stop


def side_by_side(jobs: Mapping[str, Callable[[], Result]], *, parallel: bool) -> dict[str, Result]:
    """Call functions one after the other, or all at once in fresh processes; the results are the same.

    A process has as many threads as this one (sums depend on their number), puts its name in front of every line it
    prints, and dies with this one. Ctrl-C or SIGTERM reaches the processes once, so that trainings write a checkpoint
    and stop; a second one ends them at once.

    Args:
        jobs: functions by name; picklable, with picklable results.
        parallel: in processes, rather than here.

    Returns:
        The results by name.

    Raises:
        NolabelError: what a function raised, after the others were asked to stop; or a process died.
        RuntimeError: a function raised something else: a bug, with its traceback.
        KeyboardInterrupt: after Ctrl-C, once all have stopped.
    """
    if not parallel or len(jobs) < 2:
        return {name: job() for name, job in jobs.items()}
    processes = {name: _Process(name, job) for name, job in jobs.items()}
    try:
        with interrupts() as interrupt:
            asked = False
            while _running(processes.values()):
                failed = any(process.outcome not in ("", "done") for process in processes.values())
                if not asked and (failed or interrupt.asked):
                    asked = True
                    for process in processes.values():
                        process.ask_to_stop()
    finally:
        for process in processes.values():
            process.end()
    # An error says more than that the others were stopped for it.
    for process in sorted(processes.values(), key=lambda process: process.outcome == "interrupted"):
        process.raise_error()
    values: dict[str, Any] = {name: process.value for name, process in processes.items()}
    return values


def _running(processes: Iterable[_Process]) -> bool:
    """Take what came from each of them; say whether one still works."""
    finished = [process.finished(PATIENCE) for process in processes]
    return not all(finished)


class _Process:
    """One function in a process of its own."""

    def __init__(self, name: str, job: Callable[[], Any]) -> None:
        self.name, self.outcome = name, ""
        self.value: Any = None
        self._ready = self._stopping = False
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of torch's threads
        self._replies, replies = context.Pipe(duplex=False)
        content = pickle.dumps(job)
        self._process = context.Process(target=_work, args=(content, replies, name, torch.get_num_threads()))
        self._process.start()
        replies.close()

    def finished(self, seconds: float) -> bool:
        """Wait so long at most; say whether the function has come to its end."""
        if not self.outcome and connection.wait([self._replies], seconds):
            try:
                outcome, self.value = pickle.loads(self._replies.recv_bytes())
            except EOFError:
                outcome = "interrupted" if self._stopping else "died"
            self._ready = True
            self.outcome = "" if outcome == "ready" else outcome
        return bool(self.outcome)

    def ask_to_stop(self) -> None:
        self._stopping = True
        if not self._ready:  # it has done nothing yet, and cannot listen
            self._process.terminate()
        elif not self.outcome and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """Wait for the process; one that has not come to its end is ended."""
        if not self.outcome:
            self._process.terminate()
        self._process.join()

    def raise_error(self) -> None:
        if self.outcome == "error":
            assert isinstance(self.value, NolabelError)
            raise self.value
        if self.outcome == "interrupted":
            raise KeyboardInterrupt
        if self.outcome == "died":
            raise NolabelError(
                f"the process of {self.name} died, probably for want of memory",
                hint="run the same command again to go on, without --parallel",
            )
        if self.outcome == "crashed":
            raise RuntimeError(f"{self.name} stopped with an unexpected error:\n{self.value}")


def _work(content: bytes, replies: Any, name: str, threads: int) -> None:
    if hasattr(os, "setpgrp"):  # Ctrl-C in a terminal reaches the parent alone, which passes it on
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    sys.stderr = _NamedLines(sys.stderr, name)
    replies.send_bytes(pickle.dumps(("ready", None)))
    reply: tuple[str, Any]
    try:
        reply = "done", pickle.loads(content)()
    except KeyboardInterrupt:
        reply = "interrupted", None
    except NolabelError as error:
        reply = "error", error
    except BaseException:
        reply = "crashed", traceback.format_exc()
    replies.send_bytes(pickle.dumps(reply))


class _NamedLines(io.TextIOBase):
    """Standard error of one of several processes: whole lines, with its name in front."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name, self._rest = stream, name, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"[{self._name}] {line}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
