"""Predictions on disk between the passes over them: five bytes a pixel, never more than one image in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from nolabel.engine.segmentation_inference import Prediction
from nolabel.errors import DataError
from nolabel.structures.files import write_bytes

__all__ = ["PredictionFiles", "encode_prediction"]

SUFFIX = ".prediction"


def encode_prediction(prediction: Prediction) -> bytes:
    """Return the bytes of one image's prediction, (H, W) each; the same prediction gives the same bytes."""
    buffer = io.BytesIO()
    for array in (
        prediction.labels.cpu().numpy().astype(np.uint8),
        prediction.confidence.cpu().numpy().astype("<f4"),
    ):
        np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


class PredictionFiles(Sequence[Prediction]):
    """A folder of predictions that is read one image at a time.

    Args:
        folder: where the files ``NAME.prediction`` are.
        names: the images, in the wanted order.
        device: where the tensors go.
    """

    def __init__(self, folder: Path, names: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.folder, self.names, self.device = Path(folder), list(names), device

    def path(self, name: str) -> Path:
        """Where the prediction of an image is, or has to be written."""
        return self.folder / f"{name}{SUFFIX}"

    def write(self, name: str, prediction: Prediction) -> Path:
        """Write one image's prediction, whole or not at all."""
        return write_bytes(self.path(name), encode_prediction(prediction))

    def missing(self) -> list[str]:
        """Return the names without a file."""
        return [name for name in self.names if not self.path(name).is_file()]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Prediction:  # type: ignore[override]
        """Read one image's prediction: labels (H, W) uint8 and confidence (H, W) float32."""
        path = self.path(self.names[index])
        try:
            with path.open("rb") as file:
                labels = np.lib.format.read_array(file, allow_pickle=False)
                confidence = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read the prediction {path}: {error}", hint="delete it and run the command again"
            ) from error
        return Prediction(
            torch.from_numpy(labels).to(self.device), torch.from_numpy(confidence).to(self.device)
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[index] for index in range(len(self)))
