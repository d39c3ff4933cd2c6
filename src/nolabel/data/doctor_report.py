"""What a data check says: findings by kind, counted, with examples and remedies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nolabel.data.files import read_image
from nolabel.data.footage import image_fault
from nolabel.errors import DataError
from nolabel.labels import LabelSpace

__all__ = ["CANNOT_OPEN", "DoctorReport", "Finding", "Findings", "Request"]

Item = TypeVar("Item")

_REMEDIES = {
    "missing partner frames": "add the other view, or take these frames away",
    "unreadable files": "copy, unpack or download them again",
    "images of another size": "all frames of a clip must have one size; re-export them",
    "views of different size": "left and right must be rectified to one size",
    "missing calibration": "write calibration.yaml (fx, fy, cx, cy in pixels, baseline in metres, fps) or name a file",
    "implausible calibration": "check the units: pixels of these images, metres, frames per second",
    "views not rectified": "rectify the images: the same point must lie in the same row of both views",
    "left and right swapped": "exchange left/ and right/: near things lie further right in the left view",
    "repeated frames": "nothing can move between equal frames: take repeated ones out (was the frame rate raised?)",
    "images without content": "they are black or of one colour: no label can be made; take them out or re-export them",
    "missing images": "unpack all cameras' images, or take the frames out of poses.txt",
    "poses that are no rigid motion": "rotations must have columns of length 1 at right angles: check the order of the 12 "
    "numbers (rows of the 3x4 matrix rig -> world, metres)",
    "jumps in the poses": "the car cannot have moved that far: cut the drive there, or estimate its poses anew",
    "poses in the wrong direction": "poses must take the rig's points to the world; these look like their inverses",
    "implausible steps": "check the unit of the poses: metres",
    "implausible camera": "check the intrinsics: pixels of the images as they are stored",
    "images do not fit the poses": "frame numbers, poses or camera positions belong to other images; check which frame "
    "each pose is of",
    "intrinsics, positions and poses disagree": "one of them is wrong by about this factor: intrinsics of images of another "
    "size, or a unit that is not metres",
    "voxel labels without image": "get the images of these frames, too",
    "frames without pose": "nothing, if intended: they are left out (KITTI-360 has none where the car stands)",
    "gaps in frame numbers": "nothing, if intended: no pair is made across a gap",
    "clips without a pair": "a clip needs two consecutive frames",
    "frames without the one before": "a sample needs the frame before it: unpack the whole sequences",
    "frames at the beginning of a clip": "nothing: a sample begins with the second frame",
    "frames without label map": "unpack the label maps of the sequences",
    "key frames without label map": "only mixing needs them: get their labels, too, or set mixing=null",
    "missing flow files": "estimate flow for this data set, or let it be estimated while training",
    "flow of another shape": "flow belongs to frames of another shape; estimate it anew",
    "label maps without image": "add the images, or take the maps away",
    "images without label map": "nothing, if intended: they are left out",
    "labels of another size": "an image and its label map must have one size",
    "unknown label ids": "they are read as void; choose the label space the maps were made for",
    "void as one more class": "nothing, if intended: this id is read as void",
    "empty label maps": "every pixel is void; check the label space",
}
_NOTES = frozenset(
    {
        "gaps in frame numbers",
        "frames without pose",
        "images without label map",
        "void as one more class",
        "frames at the beginning of a clip",
        "key frames without label map",
    }
)
CANNOT_OPEN = "cannot be opened"


@dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Args:
        kind: what is wrong.
        count: how many times it was seen.
        examples: up to three of them.
        remedy: what to do.
        is_problem: False for what is only worth knowing.
    """

    kind: str
    count: int
    examples: tuple[str, ...]
    remedy: str
    is_problem: bool

    def text(self) -> str:
        """Return the finding for people."""
        lines = [f"{'problem' if self.is_problem else 'note'}: {self.kind} ({self.count})"]
        lines += [f"    {example}" for example in self.examples]
        if self.count > len(self.examples):
            lines.append(f"    and {self.count - len(self.examples)} more")
        return "\n".join([*lines, f"  -> {self.remedy}"])


@dataclass(frozen=True)
class DoctorReport:
    """What was found at a path.

    Args:
        path: what was looked at.
        layout: see :func:`~nolabel.data.opening.find_layout`; None where there is none.
        facts: counts and sizes by name.
        findings: the faults, problems first.
    """

    path: Path
    layout: str | None
    facts: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no problem (notes do not count)."""
        return not any(finding.is_problem for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        findings = [vars(finding) | {"examples": list(finding.examples)} for finding in self.findings]
        return {
            "path": str(self.path),
            "layout": self.layout,
            "ok": self.ok,
            "facts": self.facts,
            "findings": findings,
        }

    def text(self) -> str:
        """Return the report for people."""
        lines = [f"{self.path}: {self.layout or 'no known layout'}"]
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        lines += [finding.text() for finding in self.findings]
        problems = sum(finding.is_problem for finding in self.findings)
        lines.append(
            {0: "no problems found", 1: "1 kind of problem found"}.get(
                problems, f"{problems} kinds of problems found"
            )
        )
        return "\n".join(lines)


class Findings:
    """Collects faults by kind."""

    def __init__(self) -> None:
        self._items: dict[str, list[str]] = defaultdict(list)
        self._remedies: dict[str, str] = dict(_REMEDIES)

    def add(self, kind: str, *items: object, remedy: str | None = None) -> None:
        """Note items of one kind; without items nothing is noted."""
        if items:
            self._items[kind] += [str(item) for item in items]
        if remedy is not None:
            self._remedies[kind] = remedy

    def sorted(self) -> tuple[Finding, ...]:
        """Return what was noted, problems first."""
        found = [
            Finding(
                kind, len(items), tuple(items[:3]), self._remedies.get(kind, "see above"), kind not in _NOTES
            )
            for kind, items in self._items.items()
        ]
        return tuple(sorted(found, key=lambda finding: not finding.is_problem))


@dataclass(frozen=True)
class Request:
    """What a check gets: where to look, how, and where to note what it finds."""

    path: Path
    space: LabelSpace | str | None
    calibration: str | Path | None
    split: str | None
    sample: int | None
    findings: Findings
    facts: dict[str, Any] = field(default_factory=dict)

    def some(self, items: Sequence[Item]) -> list[Item]:
        """An even selection of at most ``sample`` items."""
        if self.sample is None or len(items) <= self.sample:
            return list(items)
        places = np.linspace(0, len(items) - 1, self.sample).round().astype(int)
        return [items[place] for place in np.unique(places)]

    def shown(self, path: Path) -> str:
        """Name a file as seen from the path that is checked."""
        return path.relative_to(self.path).as_posix() if path.is_relative_to(self.path) else str(path)

    def size(self, path: Path) -> tuple[int, int] | None:
        """Decode an image: its size, or None and a finding."""
        try:
            image = read_image(path)
        except DataError:
            self.findings.add("unreadable files", self.shown(path))
            return None
        if (fault := image_fault(image)) is not None:
            self.findings.add("images without content", f"{self.shown(path)}: {fault}")
        height, width = image.shape[-2:]
        return height, width
