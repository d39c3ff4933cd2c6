"""Where a run's flow and disparity come from: computed, read from files, or kept from an earlier run."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.data.motion_files import folder_hash, read_map
from nolabel.data.stereo import StereoVideoDataset
from nolabel.engine.motion_estimators import open_estimator
from nolabel.engine.segmentor_file import model_path
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.cups.pseudo_label_config import MotionConfig
from nolabel.models.motion import MotionEstimator, StereoMotion
from nolabel.structures import StereoVideoSample
from nolabel.structures.files import write_bytes
from nolabel.weights import file_hash
from nolabel.weights.packaged import embedded_file

__all__ = ["MotionSource", "load_motion", "motion_hash", "open_motion"]


def load_motion(config: MotionConfig, device: torch.device | str) -> MotionEstimator:
    """Build the motion estimator with the weights of its file."""
    if config.name.startswith("raft") and config.weights is None:
        raise WeightsError(
            f"the motion network {config.name!r} needs weights", hint="give --motion-weights FILE"
        )
    return open_estimator(
        config.name, device, config.weights, updates=config.updates, half_precision=config.half_precision
    )


def motion_hash(config: MotionConfig) -> str:
    """Return what the motion depends on beside settings and images: weights, or precomputed files."""
    if config.name == "files":
        return folder_hash(_folder(config))
    file = embedded_file("motion") if config.name == "embedded" else config.weights
    return "" if file is None else file_hash(model_path(file))


@dataclass
class MotionSource:
    """Flow and disparity of the samples of a data set.

    Args:
        data: the stereo video.
        config: settings.
        device: where maps go.
        estimator: computes them; None reads ``config.folder``.
        key: names this motion in the cache.
    """

    data: StereoVideoDataset
    config: MotionConfig
    device: torch.device | str
    estimator: MotionEstimator | None
    key: str

    def of(self, index: int, sample: StereoVideoSample) -> StereoMotion:
        """Return the motion of a pair, batch of one.

        Raises:
            DataError: a file is missing or does not fit the images.
        """
        if self.estimator is None:
            return self._read(index)
        kept = None if self.config.cache is None else self.config.cache / self.key / f"{sample['name']}.npz"
        if kept is not None and kept.is_file():
            return _unpack(kept, self.device)
        images = [self._image(sample, key) for key in ("left_0", "right_0", "left_1", "right_1")]
        motion = self.estimator.stereo_video(*images)
        if kept is not None:
            write_bytes(kept, _pack(motion))
        return motion

    def disparities(self, index: int, sample: StereoVideoSample) -> tuple[Tensor, Tensor]:
        """Return left and right disparity (1, H, W) of the first frame, without computing any flow."""
        if self.estimator is None:
            motion = self._read(index)
            return motion.disparity_0[0], motion.disparity_right_0[0]
        left, right = self._image(sample, "left_0"), self._image(sample, "right_0")
        return (
            self.estimator.disparity(left, right, "left")[0],
            self.estimator.disparity(left, right, "right")[0],
        )

    def _image(self, sample: StereoVideoSample, key: str) -> Tensor:
        return sample[key].as_subclass(Tensor)[None].to(self.device)  # type: ignore[literal-required]

    def _read(self, index: int) -> StereoMotion:
        pair, folder = self.data.pairs[index], _folder(self.config)
        first = pair.name
        second = first.removesuffix(pair.left_0.stem) + pair.left_1.stem

        def maps(kind: str, frame: str) -> Tensor:
            read = read_map(folder, kind, frame)
            # What has no known motion must fail the visibility check: no flow back leads there.
            known = torch.where(read.isnan(), 1e4, read)
            return self.data.fit_motion(index, known)[None].to(self.device)

        return StereoMotion(
            flow_forward=maps("flow_forward", first),
            flow_backward=maps("flow_backward", second),
            disparity_0=maps("disparity", first),
            disparity_1=maps("disparity", second),
            disparity_right_0=maps("disparity_right", first),
            disparity_right_1=maps("disparity_right", second),
        )


def open_motion(data: StereoVideoDataset, config: MotionConfig, device: torch.device | str) -> MotionSource:
    """Open the source that the settings name.

    Raises:
        ConfigError: ``files`` without a folder.
        DataError, WeightsError: files or weights are missing.
    """
    content = motion_hash(config)
    settings = config.model_copy(update={"weights": None, "folder": None, "cache": None})
    key = hashlib.sha256("\n".join([settings.fingerprint(), data.fingerprint, content]).encode())
    estimator = None if config.name == "files" else load_motion(config, device)
    return MotionSource(data, config, device, estimator, key.hexdigest()[:16])


def _folder(config: MotionConfig) -> Path:
    if config.folder is None:
        raise ConfigError("motion.name=files needs a folder", hint="give motion.folder=FOLDER")
    return config.folder


def _pack(motion: StereoMotion) -> bytes:
    buffer = io.BytesIO()
    arrays = {field.name: getattr(motion, field.name)[0].cpu().numpy() for field in fields(motion)}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _unpack(path: Path, device: torch.device | str) -> StereoMotion:
    with np.load(path) as arrays:
        maps = {name: torch.from_numpy(arrays[name])[None].to(device) for name in arrays.files}
    return StereoMotion(**maps)
