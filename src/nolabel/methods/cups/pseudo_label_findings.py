"""What went wrong in a label folder, in plain words: which images, why, and what to do next.

Nothing is silently empty: every image without objects has a reason, every image without labels an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from nolabel.data.doctor_report import Finding
from nolabel.data.files import image_size
from nolabel.data.footage import HEIGHTS, PITCH, PairMeasures, calibration_faults
from nolabel.data.stereo import StereoVideoDataset
from nolabel.methods.cups.sample_labels import REPEATED

__all__ = ["Reason", "find_faults", "image_notes", "reason_of"]

EXAMPLES = 5
CALIBRATIONS = 20  # of a data set that are looked at
STILL_CAMERA = 0.95  # share of pixels without motion


class Reason(NamedTuple):
    """Why an image has no objects.

    Attributes:
        what: in plain words.
        remedy: what to do next.
        is_problem: False for what is usual in good footage, too.
    """

    what: str
    remedy: str
    is_problem: bool


_REASONS = {
    REPEATED: Reason(
        "the second frame repeats the first: no objects possible",
        "take repeated frames out (was the frame rate raised?); their labels hold classes only, and training on "
        "moving objects gains nothing by them",
        True,
    ),
    "validity": Reason(
        "hardly any pixel has scene flow that can be trusted",
        "look at disparity and flow of such an image (--pictures 1) and at the calibration",
        True,
    ),
    "motion": Reason(
        "no rigid motion was found, not even the camera's own",
        "look at flow and disparity of such an image (--pictures 1): one of them is probably wrong",
        True,
    ),
    "components": Reason(
        "nothing moves against the background",
        "nothing, if that is so: only what moves becomes an object",
        False,
    ),
    "agreement": Reason(
        "the runs do not agree on any moving object",
        "nothing, if few images are concerned; else lower proposals.min_agreement or use a better motion network",
        False,
    ),
    "nms": Reason(
        "no moving object is certain enough",
        "nothing, if few images are concerned; else lower proposals.nms_threshold",
        False,
    ),
    "size": Reason(
        "what moves is too small",
        "nothing, if that is so; else lower proposals.min_pixels or proposals.min_surface",
        False,
    ),
    "border": Reason(
        "what moves lies in the border columns",
        "nothing, if few images are concerned; else lower border",
        False,
    ),
}
_LOSSES = {
    "allowed": "masked by the data set",
    "depth": "nearer or farther than proposals.min_depth and max_depth",
    "not_edge": "at depth edges",
    "flow_visible": "forward and backward flow disagree",
    "disparity_visible": "left and right disparity disagree",
    "inside": "flow leaves the image",
    "next_frame": "depth unknown in the next frame",
}


def reason_of(record: Mapping[str, Any]) -> Reason | None:
    """Say why an image has no objects; None if it has some."""
    return _REASONS[record["empty"]] if record["empty"] else None


def image_notes(record: Mapping[str, Any]) -> list[str]:
    """Say what is noteworthy about one labelled image."""
    notes = []
    reason = reason_of(record)
    footage = record["footage"]
    if reason is not None:
        notes.append(reason.what)
    elif footage["repeated"]:
        notes.append(f"the second {' and '.join(footage['repeated'])} frame repeats the first")
    if record["empty"] == "validity":
        notes.append(_main_loss(record))
    if not footage["repeated"] and (footage["still"] or 0) > STILL_CAMERA:
        notes.append("hardly anything moves, not even the camera")
    height, pitch = footage["camera_height"], footage["pitch"]
    if height is not None and not HEIGHTS[0] <= height <= HEIGHTS[1]:
        notes.append(f"camera {height:.2f} m above the ground: wrong baseline?")
    if pitch is not None and abs(pitch) > PITCH:
        notes.append(f"ground tilted by {pitch:.0f} degrees: wrong cy?")
    return notes


def find_faults(
    records: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, tuple[str, str]],
    data: StereoVideoDataset,
) -> tuple[Finding, ...]:
    """Sum up a label folder, problems first.

    Args:
        records: of the labelled images, by name.
        failures: (message, hint) of those that could not be labelled.
        data: the stereo video.
    """
    findings = _calibration_findings(records, data)
    if failures:
        hints = list(dict.fromkeys(hint for _, hint in failures.values() if hint))
        items = [f"{name}: {message}" for name, (message, _) in failures.items()]
        findings.append(_finding("images that could not be labelled", items, "; ".join(hints[:3]), True))
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, record in records.items():
        if record["empty"]:
            by_reason[record["empty"]].append(name)
    for stage, names in by_reason.items():
        reason = _REASONS[stage]
        shown = names
        if stage == "validity":
            shown = [f"{name}: {_main_loss(records[name])}" for name in names]
        findings.append(
            _finding(
                f"images without objects, because {reason.what}", shown, reason.remedy, reason.is_problem
            )
        )
    with_motion = [name for name, record in records.items() if record["empty"] != REPEATED]
    if len(with_motion) > 1 and all(records[name]["empty"] for name in with_motion):
        findings.append(
            _finding(
                "no objects in any image",
                [f"{len(with_motion)} images"],
                "without moving objects no class becomes a thing: look at the pictures of the stages (--pictures 1)",
                True,
            )
        )
    return tuple(sorted(findings, key=lambda finding: not finding.is_problem))


def _calibration_findings(
    records: Mapping[str, Mapping[str, Any]], data: StereoVideoDataset
) -> list[Finding]:
    """Judge the calibrations by the numbers, and the first by what all images say about the ground."""
    names = list(PairMeasures.__dataclass_fields__)
    measures = [
        PairMeasures(**{name: record["footage"][name] for name in names})
        for record in records.values()
        if not record["footage"]["repeated"]
    ]
    step = -(-len(data) // CALIBRATIONS)
    found: dict[str, tuple[dict[str, None], str]] = {}
    for index in range(0, len(data), step):
        calibration, size = data.calibration(index), image_size(data.pairs[index].left_0)
        for fault in calibration_faults(calibration, size, measures if index == 0 else ()):
            found.setdefault(fault.kind, ({}, fault.remedy))[0][fault.detail] = None
    findings = [_finding(kind, list(details), remedy, True) for kind, (details, remedy) in found.items()]
    if len(measures) >= 3 and all(measure.camera_height is None for measure in measures):
        findings.append(
            _finding(
                "the baseline could not be checked",
                ["no image shows ground below the camera"],
                "nothing, if there is none; distances in metres decide which pixels are used, so make sure of the baseline",
                False,
            )
        )
    return findings


def _main_loss(record: Mapping[str, Any]) -> str:
    """Name what removed most pixels of an image."""
    lost = record["stages"]["lost"]
    worst = max(lost, key=lambda name: lost[name])
    share = lost[worst] / record["stages"]["pixels"]
    return f"{100 * share:.0f} % of the pixels are out: {_LOSSES[worst]}"


def _finding(kind: str, items: list[str], remedy: str, is_problem: bool) -> Finding:
    return Finding(kind, len(items), tuple(items[:EXAMPLES]), remedy, is_problem)
