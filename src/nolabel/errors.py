"""Errors that tell a person what happened, to which file, and what to do next.

Every error raised on purpose is a :class:`NolabelError`. The command line prints its message and its hint
without a traceback; anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

__all__ = ["ConfigError", "DataError", "DependencyError", "NolabelError", "TrainingError", "WeightsError"]


class NolabelError(Exception):
    """What went wrong, and the next thing to do.

    Args:
        message: what happened, with the offending value or file.
        hint: what to do next; printed on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\n  -> {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the hint when the error travels between processes."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[NolabelError], message: str, hint: str | None) -> NolabelError:
    return kind(message, hint=hint)


class ConfigError(NolabelError):
    """A configuration key, type or value that cannot be meant."""


class DataError(NolabelError):
    """An image, label, calibration or folder that is missing, broken or inconsistent."""


class WeightsError(NolabelError):
    """A checkpoint that cannot be read, is not safe to read, or does not fit the network."""


class DependencyError(NolabelError):
    """An optional or mismatched package that the requested work needs."""


class TrainingError(NolabelError):
    """A training run that cannot go on: a loss that is not finite, a run folder that does not fit."""
