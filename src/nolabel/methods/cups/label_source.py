"""Which video a folder of pseudo-labels belongs to, and how it was read: training must see the same pixels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from nolabel.data import FolderStereoVideo, StereoVideoDataset, open_stereo_video
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration
from nolabel.structures.files import write_json

__all__ = ["SOURCE_FILE", "open_source", "record_source"]

SOURCE_FILE = "source.json"


def record_source(labels: Path, video: StereoVideoDataset) -> Path:
    """Write where the video lies and how it was scaled and cropped beside its labels."""
    own = isinstance(video, FolderStereoVideo)
    return write_json(
        labels / SOURCE_FILE,
        {
            "root": str(video.root.resolve()),
            "calibration": asdict(video.calibration(0)) if own else None,
            "options": video.options.model_dump(mode="json"),
        },
    )


def open_source(labels: Path, data: Path | None = None) -> StereoVideoDataset:
    """Open the video of a label folder, read as it was for labelling.

    Args:
        labels: the label folder.
        data: where the video is now; where it was when it was labelled by default.

    Raises:
        DataError: the folder does not say which video it belongs to and ``data`` is not given, or it is gone.
    """
    path = labels / SOURCE_FILE
    if not path.exists():
        if data is None:
            raise DataError(
                f"{labels} does not say which video it belongs to.", hint="give the video with --data"
            )
        return open_stereo_video(data)
    source = json.loads(path.read_text())
    root = data or Path(source["root"])
    calibration = StereoCalibration(**source["calibration"]) if source["calibration"] else None
    return open_stereo_video(root, calibration=calibration, **source["options"])
