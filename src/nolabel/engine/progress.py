"""Progress on standard error: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

__all__ = ["Progress", "duration"]


def duration(seconds: float) -> str:
    """Return a time span as people say it: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


class Progress:
    """What is being done, how much of it, how fast, and how long it will still take.

    Use it as a context manager and call :meth:`advance`. It writes to standard error only.

    Args:
        what: what is done, in a few words ("labelling").
        total: how many items there are.
        unit: name of one item in the plural ("items", "steps").
        start: items already done earlier; they do not count for the speed.
        enabled: False prints nothing.
        every: seconds between two plain lines where standard error is not a terminal.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        unit: str = "items",
        start: int = 0,
        enabled: bool = True,
        every: float = 10.0,
    ) -> None:
        self.what, self.total, self.unit, self.start, self.every = what, total, unit, start, every
        self.count = start
        self.note = ""
        self.enabled = enabled
        self._began = self._last_line = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        self._began = self._last_line = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                _Status(self),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.start)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self.enabled and self.count > self.start:
            self._print_line()

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Count finished items; ``note`` is shown behind the numbers (a loss, the number of failures)."""
        self.count += count
        if note is not None:
            self.note = note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.count)
        elif self.enabled and time.monotonic() - self._last_line >= self.every:
            self._print_line()

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)

    @property
    def rate(self) -> float:
        """Items a second since the start."""
        return (self.count - self.start) / max(time.monotonic() - self._began, 1e-9)

    def line(self) -> str:
        """Return the state as one line of text."""
        return f"{self.what} {self.status()}"

    def status(self) -> str:
        """Return count, speed, time left and the note."""
        parts = [f"{self.count}/{self.total} {self.unit}"]
        if self.count > self.start:
            rate = self.rate
            parts.append(f"{rate:.2f} {self.unit}/s" if rate >= 0.1 else f"{duration(1 / rate)} each")
            if self.count < self.total:
                parts.append(f"{duration((self.total - self.count) / rate)} left")
            else:
                parts.append(f"took {duration(time.monotonic() - self._began)}")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        print(self.line(), file=sys.stderr, flush=True)


class _Status(ProgressColumn):
    """The text behind the bar, the same as in the plain line."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.status())
