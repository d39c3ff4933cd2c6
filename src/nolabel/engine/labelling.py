"""Labelling: a map over independent work items that may take hours and may be killed at any moment.

A task names its items and turns one item into files. :func:`label_items` runs it inline, on several processes
or on Ray, in shards if asked. Every item's files are written whole, then its record
(``OUT/.labelling/items/NAME.json``: hash and size of each file, the task's fingerprint, the task's own
record). An item is done when its record fits the task and its files are there, so the same command again
does only what is missing, and shards written to one folder together give the bytes of an unsharded run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from nolabel.engine.executors import Job, Reply, Worker, record_path, run_inline, run_processes, run_ray
from nolabel.engine.progress import Progress, duration
from nolabel.errors import ConfigError, DataError
from nolabel.structures.files import encode_json, write_bytes, write_json

__all__ = [
    "Estimate",
    "ItemResult",
    "LabellingSummary",
    "LabellingTask",
    "estimate",
    "label_items",
    "read_failures",
    "read_records",
    "shard_range",
]

Executor = Literal["inline", "processes", "ray"]


@dataclass(frozen=True)
class ItemResult:
    """What one item gives.

    Attributes:
        files: content by path relative to the output folder, with ``/``.
        record: small JSON value kept in the item's record (counts, reasons, times would spoil determinism).
    """

    files: dict[str, bytes]
    record: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class LabellingTask(Protocol):
    """Independent work items. Must be picklable; heavy things belong into ``setup``."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything the results depend on: settings, data, weights."""
        ...

    def items(self) -> Sequence[str]:
        """The unique names of all items, always in the same order."""
        ...

    def setup(self) -> Any:
        """Load what all items share (networks); called once in each worker."""
        ...

    def process(self, state: Any, index: int) -> ItemResult:
        """Turn item ``index`` into files; a NolabelError marks this item as failed, the rest goes on."""
        ...


@dataclass(frozen=True)
class LabellingSummary:
    """What a labelling run did.

    Attributes:
        out: where the results are.
        done: number of items finished by this run.
        skipped: number of items that were finished before.
        failed: (name, message) of the items that failed, in item order.
        records: the tasks' own records of all finished items of this shard by name, in item order.
        seconds: wall time.
    """

    out: Path
    done: int
    skipped: int
    failed: list[tuple[str, str]]
    records: dict[str, dict[str, Any]]
    seconds: float

    def require_all(self, what: str) -> None:
        """Raise a DataError that names the first item that failed, if any did; ``what`` are the items."""
        if self.failed:
            name, message = self.failed[0]
            raise DataError(
                f"{len(self.failed)} {what} failed, for instance {name}: {message}",
                hint="repair or remove them, then run the same command again",
            )

    def __str__(self) -> str:
        text = f"{self.done} items done in {duration(self.seconds)}"
        if self.skipped:
            text += f", {self.skipped} were done before"
        if self.failed:
            text += f", {len(self.failed)} failed"
        lines = [f"{text}; results are in {self.out}"]
        lines += [f"  failed: {name}: {message}" for name, message in self.failed[:20]]
        if len(self.failed) > 20:
            lines.append(f"  ... and {len(self.failed) - 20} more, see {self.out / '.labelling' / 'failed'}")
        if self.failed:
            lines.append("  -> correct these and run the same command again: only they are done anew")
        return "\n".join(lines)


def label_items(
    task: LabellingTask,
    out: Path,
    *,
    executor: Executor = "inline",
    workers: int = 1,
    shard: str | None = None,
    threads: int = 1,
    overwrite: bool = False,
    progress: bool = True,
    what: str = "labelling",
) -> LabellingSummary:
    """Run a task over its items, or over what is left of them.

    Args:
        task: the work.
        out: output folder; made if absent.
        executor: where items run; the results do not depend on it.
        workers: processes or Ray actors.
        shard: ``"2/8"`` does the second of eight contiguous parts.
        threads: torch threads in each worker, the same for every executor so that the bytes are, too.
        overwrite: replace results in ``out`` that were made with other settings.
        progress: show progress and the summary on standard error.
        what: the word before the progress.

    Raises:
        ConfigError: ``out`` holds results of other settings, or the shard, executor or workers make no sense.
        DataError: two items have one name.
        DiskFullError: what is finished is kept.
        RuntimeError: an item raised something that is not a NolabelError: a bug; the item is named.
    """
    out = Path(out)
    if executor not in ("inline", "processes", "ray") or workers < 1 or threads < 1:
        raise ConfigError(
            f"executor={executor!r}, workers={workers}, threads={threads} cannot be meant",
            hint="executor is inline, processes or ray; workers and threads are at least 1",
        )
    began = time.monotonic()
    names = _unique(task.items())
    chosen = shard_range(len(names), shard)
    fingerprint = task.fingerprint
    _claim(out, fingerprint, overwrite)
    _remove_dead_temporaries(out)

    records = {
        name: record
        for name in names[chosen.start : chosen.stop]
        if (record := _done(out, name, fingerprint))
    }
    skipped = len(records)
    jobs = [(index, names[index]) for index in chosen if names[index] not in records]
    failed: dict[str, str] = {}
    owners = {path: name for name, record in records.items() for path in record["files"]}
    worker = Worker(task, out, threads)
    try:
        with Progress(what, len(chosen), start=skipped, enabled=progress) as bar:
            for reply in _run(executor, worker, jobs, workers):
                _take(reply, out, records, failed)
                for path in reply.record["files"] if reply.record else ():
                    if owners.setdefault(path, reply.name) != reply.name:
                        raise RuntimeError(f"items {owners[path]!r} and {reply.name!r} both write {path}")
                bar.advance(note=f"{len(failed)} failed" if failed else None)
    except KeyboardInterrupt:
        count = len(records)
        print(
            f"stopped with {count} of {len(chosen)} items done in {out}; run the same command again to go on",
            file=sys.stderr,
        )
        raise
    finally:
        _remove_dead_temporaries(out)
    order = [names[index] for index in chosen]
    summary = LabellingSummary(
        out=out,
        done=len(records) - skipped,
        skipped=skipped,
        failed=[(name, failed[name]) for name in order if name in failed],
        records={name: records[name]["record"] for name in order if name in records},
        seconds=time.monotonic() - began,
    )
    if progress:
        print(summary, file=sys.stderr)
    return summary


def read_records(out: Path) -> dict[str, dict[str, Any]]:
    """Return the task's record of every finished item in a folder, all shards together, sorted by name."""
    found = {}
    for path in sorted((Path(out) / ".labelling" / "items").glob("*.json")):
        record = _read_json(path)
        if record is not None:
            found[record["name"]] = record["record"]
    return dict(sorted(found.items()))


def read_failures(out: Path) -> dict[str, tuple[str, str]]:
    """Return (message, hint) of every item that failed and was not done since, all shards together."""
    found = {}
    for path in sorted((Path(out) / ".labelling" / "failed").glob("*.json")):
        record = _read_json(path)
        if record is not None:
            found[record["name"]] = (record["message"], record["hint"] or "")
    return dict(sorted(found.items()))


def shard_range(count: int, shard: str | None) -> range:
    """Return the indices of shard ``"i/n"`` (i from 1) of ``count`` items: contiguous, nearly equal."""
    if shard is None:
        return range(count)
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ConfigError(f"there is no shard {shard!r}", hint="write I/N with I from 1 to N: 2/8")
    i, n = int(part), int(parts)
    return range((i - 1) * count // n, i * count // n)


@dataclass(frozen=True)
class Estimate:
    """A rough forecast: how many items are left, and what one costs."""

    items: int
    left: int
    seconds_per_item: float
    bytes_per_item: float

    def __str__(self) -> str:
        size = self.left * self.bytes_per_item / 1e6
        each = f"{self.seconds_per_item:.2g} s and {self.bytes_per_item / 1e3:.0f} kB each"
        return (
            f"{self.left} of {self.items} items to do, {each}: about "
            f"{duration(self.left * self.seconds_per_item)} on one worker and {size:.0f} MB"
        )


def estimate(task: LabellingTask, out: Path, *, sample: int = 1) -> Estimate:
    """Process up to ``sample`` of the items left, without writing, and extrapolate time and disk space."""
    names = _unique(task.items())
    fingerprint = task.fingerprint
    left = [i for i, name in enumerate(names) if _done(Path(out), name, fingerprint) is None]
    chosen = left[:sample]
    state = task.setup() if chosen else None
    began = time.monotonic()
    size = sum(len(content) for i in chosen for content in task.process(state, i).files.values())
    seconds = time.monotonic() - began
    return Estimate(len(names), len(left), seconds / max(len(chosen), 1), size / max(len(chosen), 1))


def _run(executor: Executor, worker: Worker, jobs: list[Job], workers: int) -> Iterator[Reply]:
    if not jobs:
        return iter(())
    if executor == "inline":
        return run_inline(worker, jobs)
    run = run_processes if executor == "processes" else run_ray
    return run(worker, jobs, min(workers, len(jobs)))


def _take(reply: Reply, out: Path, records: dict[str, dict[str, Any]], failed: dict[str, str]) -> None:
    """Book what became of an item, or end the run."""
    mark = record_path(out, reply.name, "failed")
    if reply.outcome == "done":
        assert reply.record is not None
        records[reply.name] = reply.record
        mark.unlink(missing_ok=True)
    elif reply.outcome == "failed":
        assert reply.error is not None
        failed[reply.name] = reply.error.message
        write_json(mark, {"name": reply.name, "message": reply.error.message, "hint": reply.error.hint})
    elif reply.outcome == "stop":
        assert reply.error is not None
        raise reply.error
    else:
        raise RuntimeError(f"item {reply.name!r} stopped with an unexpected error:\n{reply.trace}")


def _unique(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if twice:
        raise DataError(f"{len(twice)} items share a name with another, for instance {twice[0]!r}")
    return list(names)


def _done(out: Path, name: str, fingerprint: str) -> dict[str, Any] | None:
    """Return the record of an item that is finished: it fits the task and its files have their sizes."""
    record = _read_json(record_path(out, name))
    if record is None or record.get("name") != name or record.get("fingerprint") != fingerprint:
        return None
    for relative, expected in record["files"].items():
        try:
            if (out / relative).stat().st_size != expected["bytes"]:
                return None
        except OSError:
            return None
    return record


def _read_json(path: Path) -> dict[str, Any] | None:
    """Read a record; what a power cut left of one counts as none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _claim(out: Path, fingerprint: str, overwrite: bool) -> None:
    """Make ``out`` this task's folder, or refuse; old results are removed only when asked."""
    folder = out / ".labelling"
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file, not a folder", hint="choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):  # two shards that start together must not both clear the folder
        owner = _read_json(folder / "task.json")
        if owner is not None and owner.get("fingerprint") != fingerprint:
            if not overwrite:
                raise ConfigError(
                    f"{out} holds results of other settings, data or weights",
                    hint="choose another --out, or replace them with --overwrite",
                )
            _clear(out)
        if owner is None or owner.get("fingerprint") != fingerprint:
            write_bytes(folder / "task.json", encode_json({"fingerprint": fingerprint}))


def _clear(out: Path) -> None:
    """Remove the files that records name, then the records; anything else in the folder is not ours."""
    for path in (out / ".labelling" / "items").glob("*.json"):
        for relative in (_read_json(path) or {"files": {}})["files"]:
            (out / relative).unlink(missing_ok=True)
        path.unlink()
    shutil.rmtree(out / ".labelling" / "failed", ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: shards started in the same second may race there
        yield
        return
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _remove_dead_temporaries(out: Path) -> None:
    """Remove what killed processes of this machine left on its way; others may be alive elsewhere."""
    host = socket.gethostname()
    base = out / ".labelling" / "tmp"
    for folder in base.glob(f"{host}.*"):
        process = folder.name.removeprefix(f"{host}.")
        if process.isdecimal() and (int(process) == os.getpid() or not _alive(int(process))):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not there, or not empty
        base.rmdir()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
