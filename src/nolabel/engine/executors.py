"""Where work items run: in this process, in several processes of this machine, or on a Ray cluster.

Each executor takes jobs (index, name) and yields one :class:`Reply` for each, in the order they finish. A
worker writes its item's files itself, then the item's record: the record is the sign that the item is done.
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import torch

from nolabel.engine.seeding import preserved_random_state, seed_everything, seed_of
from nolabel.errors import DependencyError, NolabelError
from nolabel.structures.files import DiskFullError, encode_json, write_bytes

if TYPE_CHECKING:
    from nolabel.engine.labelling import ItemResult, LabellingTask

__all__ = [
    "Job",
    "Reply",
    "Worker",
    "die_with_parent",
    "record_path",
    "run_inline",
    "run_processes",
    "run_ray",
    "worker_device",
]

Job = tuple[int, str]
JOBS_AHEAD = 2  # jobs handed to a worker while it works, so that it never waits for the next


@dataclass(frozen=True)
class Reply:
    """What became of one item.

    Attributes:
        name: the item.
        outcome: ``done``; ``failed`` (recorded, the rest goes on); ``stop`` (a NolabelError that ends the
            run: set-up failed, disk full); ``crashed`` (any other exception).
        record: what the item's record file holds, for ``done``.
        error: the error, for ``failed`` and ``stop``.
        trace: the traceback, for ``crashed``.
    """

    name: str
    outcome: Literal["done", "failed", "stop", "crashed"]
    record: dict[str, Any] | None = None
    error: NolabelError | None = None
    trace: str | None = None


@dataclass
class Worker:
    """Runs items: sets the task up at its first item, then processes and writes each."""

    task: LabellingTask
    out: Path
    threads: int

    def __post_init__(self) -> None:
        self._state: Any = None
        self._ready = False

    def run(self, index: int, name: str) -> Reply:
        """Process and write one item; never raises but for an interrupt."""
        torch.set_num_threads(self.threads)
        if not self._ready:
            try:
                self._state = self.task.setup()
                self._ready = True
            except NolabelError as error:
                return Reply(name, "stop", error=error)
            except Exception:
                return Reply(name, "crashed", trace=traceback.format_exc())
        try:
            # An item must not depend on which items ran before it in the same process.
            seed_everything(seed_of("item", name))
            result = self.task.process(self._state, index)
            return Reply(name, "done", record=_write_item(self.out, name, self.task.fingerprint, result))
        except DiskFullError as error:
            return Reply(name, "stop", error=error)
        except NolabelError as error:
            return Reply(name, "failed", error=error)
        except Exception:
            return Reply(name, "crashed", trace=traceback.format_exc())


def record_path(out: Path, name: str, kind: Literal["items", "failed"] = "items") -> Path:
    """Return the file of an item's record; any name gives a legal, unique file name."""
    safe = "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):02x}" for c in name)
    if len(safe) > 200 or safe.startswith("."):
        safe = f"{safe[:150].lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return out / ".labelling" / kind / f"{safe}.json"


def temporary_folder(out: Path) -> Path:
    """Return this process's folder for files on their way; named so that a later run can tell it is dead."""
    return out / ".labelling" / "tmp" / f"{socket.gethostname()}.{os.getpid()}"


def _write_item(out: Path, name: str, fingerprint: str, result: ItemResult) -> dict[str, Any]:
    temporary = temporary_folder(out)
    files: dict[str, Any] = {}
    for relative, content in sorted(result.files.items()):
        place = PurePosixPath(relative)
        if place.is_absolute() or ".." in place.parts or place.parts[:1] == (".labelling",):
            raise ValueError(f"item {name!r} may not write outside its folder: {relative!r}")
        files[relative] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    record = {"name": name, "fingerprint": fingerprint, "files": files, "record": result.record}
    encoded = encode_json(record)  # before anything is written: a record that is no JSON is a bug of the task
    for relative, content in sorted(result.files.items()):
        write_bytes(out / relative, content, temporary=temporary)
    write_bytes(record_path(out, name), encoded, temporary=temporary)
    return record


def run_inline(worker: Worker, jobs: Iterable[Job]) -> Iterator[Reply]:
    """Run jobs one after another in this process; its thread count and random state are put back."""
    threads = torch.get_num_threads()
    try:
        with preserved_random_state():
            for job in jobs:
                yield worker.run(*job)
    finally:
        torch.set_num_threads(threads)


# --- several processes ------------------------------------------------------------------------------------

_worker: Worker | None = None
_place = 0


def worker_device(device: str) -> str:
    """Return the device of this worker: processes that share ``cuda`` take its GPUs in turn (cuda:0, cuda:1, ...).

    A device with a number, and any other, is taken as it is.
    """
    count = torch.cuda.device_count()
    return f"cuda:{_place % count}" if device == "cuda" and count > 1 else device


def _start_process(pickled: bytes, places: Any) -> None:
    global _worker, _place
    with places.get_lock():
        _place = places.value
        places.value += 1
    # Ctrl-C in a terminal reaches every process: die quietly, the parent tells the person what to do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    _worker = pickle.loads(pickled)


def die_with_parent() -> None:
    """Leave when the parent was killed: a pool's processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run_in_process(job: Job) -> Reply:
    assert _worker is not None
    return _worker.run(*job)


def run_processes(worker: Worker, jobs: Iterable[Job], workers: int) -> Iterator[Reply]:
    """Run jobs in ``workers`` fresh processes; each sets the task up once."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of torch's threads
    pool = ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=_start_process,
        initargs=(pickle.dumps(worker), context.Value("i", 0)),
    )
    waiting = iter(jobs)
    running: dict[Future[Reply], Job] = {}
    try:
        while True:
            for job in islice(waiting, workers * JOBS_AHEAD - len(running)):
                running[pool.submit(_run_in_process, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                names = sorted(name for _, name in running.values())
                del running[future]
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise NolabelError(
                        f"a worker process died, probably for want of memory, at one of: {', '.join(names)}",
                        hint="run the same command again to go on, with fewer workers",
                    ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# --- Ray --------------------------------------------------------------------------------------------------


def run_ray(worker: Worker, jobs: Iterable[Job], workers: int) -> Iterator[Reply]:
    """Run jobs on Ray actors: on the cluster ``$RAY_ADDRESS`` names, else on this machine.

    Data and ``out`` must be on a disk that every node sees under the same path.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise DependencyError("the ray executor needs ray", hint="pip install 'nolabel[ray]'") from None

    ours = not ray.is_initialized()
    if ours:
        local = {
            "num_cpus": workers,
            "include_dashboard": False,
            # Workers must find what this process finds, installed or not.
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}},
        }
        cluster = {} if os.environ.get("RAY_ADDRESS") else local
        ray.init(log_to_driver=False, logging_level="error", **cluster)
    try:
        actor = ray.remote(num_cpus=1, max_restarts=0)(Worker)
        actors = [actor.remote(worker.task, worker.out, worker.threads) for _ in range(workers)]
        waiting = iter(jobs)
        running: dict[Any, tuple[Any, Job]] = {}
        for chosen in actors * JOBS_AHEAD:
            for job in islice(waiting, 1):
                running[chosen.run.remote(*job)] = (chosen, job)
        while running:
            (finished,), _ = ray.wait(list(running), num_returns=1)
            chosen, (_, name) = running.pop(finished)
            try:
                reply = ray.get(finished)
            except ray.exceptions.RayActorError:
                raise NolabelError(
                    f"a Ray worker died, probably for want of memory, at or near item {name!r}",
                    hint="run the same command again to go on, with fewer workers",
                ) from None
            for job in islice(waiting, 1):
                running[chosen.run.remote(*job)] = (chosen, job)
            yield reply
    finally:
        if ours:
            ray.shutdown()
