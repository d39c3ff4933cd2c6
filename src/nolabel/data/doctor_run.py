"""``nolabel doctor``: look at data before hours are spent on it.

Nothing stops at the first fault: every kind of fault is counted, with examples and what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nolabel.data.cityscapes import CITYSCAPES_SOURCE
from nolabel.data.doctor_clips import check_clips
from nolabel.data.doctor_report import CANNOT_OPEN, DoctorReport, Finding, Findings, Request
from nolabel.data.doctor_rigs import check_kitti360, check_rig
from nolabel.data.doctor_stereo import check_cityscapes_video, check_kitti_raw, check_stereo_folder
from nolabel.data.files import examples, list_images, natural_key
from nolabel.data.folder import flat_name
from nolabel.data.label_layouts import LAYOUTS
from nolabel.data.labelled import LabelledDataset
from nolabel.data.labelled_opening import find_labelled
from nolabel.data.opening import Layout, find_layout, open_images
from nolabel.data.own_labels import CocoPanoptic, FolderLabelled, find_coco
from nolabel.data.video import VideoFrames
from nolabel.data.video_layouts import VIDEO_LAYOUTS, find_video_layout
from nolabel.errors import ConfigError, DataError
from nolabel.labels import VOID, LabelSpace

__all__ = ["DoctorReport", "Finding", "doctor"]


def doctor(
    path: str | Path,
    *,
    space: LabelSpace | str | None = None,
    calibration: str | Path | None = None,
    split: str | None = None,
    dataset: str | None = None,
    clips: bool = False,
    flow: str | Path | None = None,
    sample: int | None = 200,
) -> DoctorReport:
    """Check data of any known layout.

    Args:
        path: a folder, an image or a video.
        space: label space of the label maps; for own maps ``cityscapes_19`` by default.
        calibration: calibration file of a stereo folder without calibration.yaml.
        split: of a data set with splits; by default the first one that is there.
        dataset: the layout of a labelled data set that cannot be told by looking (``gta5``).
        clips: check images of one camera as video, too: frames before each other, flow files. VIPER, SYNTHIA-Seq and
            Cityscapes' left sequences alone are always checked so.
        flow: folder of flow files of the clips; by default ``flow/<split>`` in the data set, where there is one.
        sample: how many files of each kind are decoded, evenly spread; None decodes all. Names are always all checked.

    Returns:
        The report; ``report.ok`` says whether the data can be used as it is.
    """
    findings = Findings()
    path = Path(path)
    layout: str | None = None
    facts: dict[str, Any] = {}
    try:
        request = Request(path, space, calibration, split, sample, findings, facts)
        video = _video_layout(path, dataset, clips or flow is not None)
        official = dataset or _official(path)
        if video is not None:
            layout = video
            check_clips(
                request, video, split or _video_split(path, video), None if flow is None else Path(flow)
            )
        elif official is not None:
            layout = official
            _check_official(request, official)
        else:
            layout = find_layout(path)
            _CHECKS[layout](request)
    except DataError as error:
        findings.add(CANNOT_OPEN, error.message, remedy=error.hint)
    return DoctorReport(path, layout, facts, findings.sorted())


def _video_layout(path: Path, dataset: str | None, wanted: bool) -> str | None:
    """The video layout to check, where frames belong to clips."""
    if dataset in VIDEO_LAYOUTS and (wanted or dataset not in ("camvid", "folder")):
        return dataset
    if dataset is not None:
        return None
    try:
        name = find_video_layout(path)
    except DataError:
        return None
    alone = name == "cityscapes_seq" and not (path / "rightImg8bit_sequence").is_dir()
    return name if wanted or alone or name in ("viper", "synthia_seq") else None


def _video_split(path: Path, name: str) -> str:
    """The first part that is there."""
    folder = {"cityscapes_seq": path / "leftImg8bit_sequence", "camvid": path / "images"}.get(name, path)
    there = {place.name for place in folder.iterdir() if place.is_dir()}
    return next((split for split in ("train", "val", "test") if split in there), "train")


def _official(path: Path) -> str | None:
    """The labelled data set that a folder holds, of those that are checked in one way."""
    try:
        name = find_labelled(path)
    except DataError:
        return None
    return name if name in LAYOUTS and name not in _CHECKS else None


def _check_official(request: Request, name: str) -> None:
    """Open the first split that is there."""
    if name not in LAYOUTS:
        raise ConfigError(f"no labelled data set is called {name!r}", hint=f"known: {', '.join(LAYOUTS)}")
    first: DataError | None = None
    for split in [request.split] if request.split else ["train", "val", "test"]:
        try:
            opened = LabelledDataset(LAYOUTS[name], request.path, split, request.space, crop=None)
        except DataError as error:
            first = first or error
            continue
        request.facts["split"] = split
        _check_labels(request, opened)
        return
    assert first is not None
    raise first


def _check_cityscapes(request: Request) -> None:
    root = request.path
    split = request.split or _first_split(root, ("leftImg8bit_sequence", "gtFine", "leftImg8bit"))
    request.facts["split"] = split
    if (root / "leftImg8bit_sequence" / split).is_dir() and (root / "rightImg8bit_sequence").is_dir():
        check_cityscapes_video(request, split)
    if (root / "gtFine" / split).is_dir():
        space = request.space or "cityscapes_27"
        _check_labels(request, LabelledDataset(LAYOUTS["cityscapes"], root, split, space, crop=None))


def _check_labelled_folder(request: Request) -> None:
    root, split = request.path, request.split or ""
    images = {flat_name(path, root / "images" / split) for path in list_images(root / "images" / split)}
    labels = {flat_name(path, root / "labels" / split) for path in list_images(root / "labels" / split)}
    request.facts.update(images=len(images), labels=len(labels))
    request.findings.add("label maps without image", *sorted(labels - images))
    request.findings.add("images without label map", *sorted(images - labels))
    if labels - images:
        return
    _check_labels(request, FolderLabelled(root, request.space, split))


def _check_camvid(request: Request) -> None:
    splits = [p.name.removesuffix("annot") for p in request.path.glob("*annot")]
    splits = splits or [p.name for p in (request.path / "labels").iterdir() if p.is_dir()]
    split = request.split or sorted(splits)[0]
    request.facts["split"] = split
    _check_labels(request, LabelledDataset(LAYOUTS["camvid"], request.path, split, request.space))


def _check_coco(request: Request) -> None:
    found = find_coco(request.path)
    assert found is not None
    _check_labels(request, CocoPanoptic(*found))


def _check_labels(request: Request, dataset: LabelledDataset) -> None:
    request.facts.update({"labelled images": len(dataset), "label space": dataset.space.name})
    seen: dict[str, str] = {}
    chosen = request.some(dataset.records)
    for record in chosen:
        size = request.size(record.image)
        try:
            raw, _ = dataset.layout.decode(record)
        except DataError as error:
            request.findings.add("unreadable files", error.message)
            continue
        if size is not None and raw.shape != size:
            request.findings.add(
                "labels of another size", f"{request.shown(record.label)}: {raw.shape}, {size}"
            )
        ids = np.unique(raw)
        known = (ids >= 0) & (ids < len(dataset.table))
        void = ~known | (dataset.table[np.where(known, ids, 0)] == VOID)
        if void.all():
            request.findings.add("empty label maps", request.shown(record.label))
        if isinstance(dataset, FolderLabelled):  # elsewhere void ids are part of the layout
            mapping = dataset.mapping
            listed = mapping.listed if mapping is not None else {VOID}
            for number in ids[void & ~np.isin(ids, list(listed))]:
                name = str(number) if mapping is None else mapping.shown(int(number))
                seen.setdefault(name, request.shown(record.label))
    # Many sets number void as one more class.
    kind = "void as one more class" if set(seen) == {str(dataset.space.num_classes)} else "unknown label ids"
    found = sorted(seen.items(), key=lambda item: natural_key(item[0]))
    request.findings.add(kind, *(f"{value} (first in {place})" for value, place in found))
    request.facts["decoded label maps"] = len(chosen)


def _check_images(request: Request) -> None:
    images = open_images(request.path)
    assert not isinstance(images, VideoFrames)
    request.facts["images"] = len(images)
    chosen = request.some(images.paths)
    sizes = {size for size in map(request.size, chosen) if size is not None}
    request.facts.update({"decoded": len(chosen), "sizes": examples(f"{h}x{w}" for h, w in sorted(sizes))})


def _check_video(request: Request) -> None:
    video = VideoFrames(request.path)
    height, width = video.read(0).shape[-2:]
    request.facts.update({"frames": len(video), "size": f"{height}x{width}", "fps": video.fps})
    video.read(len(video) - 1)  # raises where the file ends early


def _first_split(root: Path, folders: Iterable[str]) -> str:
    for folder in folders:
        if (root / folder).is_dir():
            splits = sorted(path.name for path in (root / folder).iterdir() if path.is_dir())
            if splits:
                return "train" if "train" in splits else splits[0]
    raise DataError(f"{root} holds no split of any kind", hint=CITYSCAPES_SOURCE)


_CHECKS: dict[Layout, Callable[[Request], None]] = {
    "cityscapes": _check_cityscapes,
    "kitti360": check_kitti360,
    "rig": check_rig,
    "kitti_raw": check_kitti_raw,
    "stereo": check_stereo_folder,
    "labelled": _check_labelled_folder,
    "camvid": _check_camvid,
    "coco": _check_coco,
    "video": _check_video,
    "images": _check_images,
}
