"""The folder of a training run: what was asked, by which versions, what came of it, and how to go on.

::

    OUT/config.yaml        resolved settings
    OUT/run.json           versions, seed, git revision, command
    OUT/log.jsonl          one JSON object a line: losses every few steps, metrics of each validation
    OUT/result.json        written at the very end
    OUT/checkpoints/       step_00000200.ckpt, ...; last.ckpt is the newest
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import SerializeAsAny

from nolabel.config import Config, dump_config
from nolabel.errors import ConfigError, TrainingError
from nolabel.structures.files import atomic_path, write_bytes, write_json

__all__ = ["RunFolder", "StageRecord", "settings_identity", "surroundings"]

PACKAGES = ("nolabel", "torch", "torchvision", "lightning-fabric", "numpy", "timm", "opencv-python-headless")


class StageRecord(Config):
    """What a stage's results depend on: kept beside them, and compared before they are continued."""

    settings: SerializeAsAny[Config]
    """The stage's settings."""
    inputs: dict[str, str]
    """Hashes of what it started from: data, networks, labels."""


class RunFolder:
    """Reads and writes the files of one run; see the module's description."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.log_file = self.path / "log.jsonl"

    # --- identity -----------------------------------------------------------------------------------------

    def check(self, settings: Config) -> None:
        """Refuse a folder of a run with other settings, naming what differs.

        Raises:
            ConfigError: the folder belongs to another run.
        """
        stored = _read_json(self.path / "run.json")
        if stored is None:
            if self.path.exists() and not self.path.is_dir():
                raise ConfigError(f"{self.path} is a file, not a folder", hint="choose another --out")
            return
        before, now = _flat(stored["settings"]), _flat(settings_identity(settings))
        differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if differing:
            shown = "; ".join(f"{key} was {before.get(key)!r}, now {now.get(key)!r}" for key in differing[:8])
            raise ConfigError(
                f"{self.path} holds a run with other settings: {shown}",
                hint="choose another --out, or start anew there with --overwrite",
            )

    def open(self, settings: Config, seed: int) -> None:
        """Make the folder of a new run, or leave one that exists as it is."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for stale in self.checkpoints.glob(".*.tmp"):
            stale.unlink()
        if _read_json(self.path / "run.json") is None:
            write_bytes(self.path / "config.yaml", dump_config(settings).encode())
            write_json(
                self.path / "run.json",
                {"settings": settings_identity(settings), "seed": seed, **surroundings()},
            )

    def clear(self) -> None:
        """Remove a former run's files; anything else in the folder is not ours."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        for name in ("run.json", "config.yaml", "log.jsonl", "result.json"):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            TrainingError: another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            yield
            return
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TrainingError(
                    f"another process is training in {self.path}", hint="wait for it, or choose another --out"
                ) from None
            yield

    # --- checkpoints --------------------------------------------------------------------------------------

    def save(self, state: Mapping[str, Any], *, keep: int) -> Path:
        """Write the checkpoint of ``state["step"]`` whole, point ``last.ckpt`` to it, keep the newest ones."""
        path = self.checkpoints / f"step_{state['step']:08d}.ckpt"
        with atomic_path(path, durable=True) as written:
            torch.save(dict(state), written)
        with atomic_path(self.checkpoints / "last.ckpt") as written:
            try:
                os.link(path, written)
            except OSError:  # a disk without hard links
                shutil.copyfile(path, written)
        for old in self._steps()[keep:]:
            old.unlink()
        return path

    def load(self) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole; None if there is none."""
        for path in self._steps():
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # damage takes many forms; the one before it may be whole
                print(f"{path} is damaged ({type(error).__name__}); trying the one before", file=sys.stderr)
        return None

    def networks(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the state dictionaries of the newest checkpoint by network name.

        Raises:
            TrainingError: there is no checkpoint.
        """
        state = self.load()
        if state is None:
            raise TrainingError(f"{self.path} holds no checkpoint", hint="give the folder of a training run")
        return state["networks"]

    def _steps(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step_*.ckpt"), reverse=True)

    # --- log and result -----------------------------------------------------------------------------------

    def log(self, **values: Any) -> None:
        """Append one line to the log."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log's lines; one cut off by a kill is left out."""
        if not self.log_file.exists():
            return []
        lines = []
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def rewind_log(self, step: int) -> None:
        """Drop lines after ``step``: the steps behind them will be done again."""
        if self.log_file.exists():
            kept = [line for line in self.read_log() if line.get("step", 0) <= step]
            write_bytes(self.log_file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def finish(self, **values: Any) -> None:
        """Write the result of a finished run."""
        write_json(self.path / "result.json", values)

    def result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, None if it is not finished."""
        return _read_json(self.path / "result.json")


def settings_identity(settings: Config) -> dict[str, Any]:
    """Return the settings that change what a run computes.

    A Config names those that do not (workers, how often to log) in its class variable ``not_identity``.
    """
    left_out: frozenset[str] = getattr(type(settings), "not_identity", frozenset())
    plain = settings.model_dump(mode="json")
    result = {}
    for name in type(settings).model_fields:
        if name in left_out:
            continue
        value = getattr(settings, name)
        result[name] = settings_identity(value) if isinstance(value, Config) else plain[name]
    return result


def surroundings() -> dict[str, Any]:
    """Return the command, the git revision and the versions under which results come about."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"command": sys.argv, "git": _git_revision(), "versions": versions}


def _git_revision() -> str | None:
    """Return the revision of the working tree the code runs from; None for an installed package."""
    folder = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
