"""Training of the existence network: is there an object in a crop? (unMORE specification, 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.methods.unmore.network_files import load_existence, save_network, start_existence
from nolabel.methods.unmore.network_training import NetworkTraining, TrainedNetwork, run_training
from nolabel.methods.unmore.object_source import ObjectSource
from nolabel.methods.unmore.training_samples import ExistenceSamples, fixed_samples
from nolabel.methods.unmore.training_settings import ExistenceTrainingConfig
from nolabel.models.objectness import ExistenceModule

__all__ = ["evaluate_existence", "score_existence", "train_existence"]

THRESHOLD = 0.5
_SCORED_TOGETHER = 32


class ExistenceTraining(NetworkTraining):
    """A training as the loop sees it.

    Args:
        config: settings.
        source: images and objects.
        out: run folder; the finished network is written there.
    """

    def __init__(self, config: ExistenceTrainingConfig, source: ObjectSource, out: Path) -> None:
        super().__init__(config.rate, config.fit, source, config.look.held_out, out)
        self.config = config
        self._looks: list[Any] | None = None

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        self.network = start_existence(self.config.network.architecture, self.config.network.initial)
        return {"network": self.network.train()}

    def train_dataset(self) -> Dataset[Any]:
        """Return crops and labels."""
        return ExistenceSamples(self.source, self.learned, self.config.size, self.config.background)

    def training_step(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the binary cross entropy."""
        crops, labels = batch
        module: Any = self.modules["network"]
        if hasattr(module, "mark_forward_method"):
            module.mark_forward_method("logits")
        return {"loss": F.binary_cross_entropy_with_logits(module.logits(crops).float(), labels)}

    def validation(self) -> dict[str, float]:
        """Score fixed crops."""
        if self._looks is None:
            self._looks = _looks(self.config, self.source, self.looked_at)
        with self.fabric.autocast():
            return score_existence(self.network, self._looks)

    def save(self, path: Path) -> None:
        """Write the network."""
        save_network(self.network, path, "existence", self.config.network.architecture, {}, steps=self.done)


def _looks(config: ExistenceTrainingConfig, source: ObjectSource, indices: list[int]) -> list[Any]:
    dataset = ExistenceSamples(source, indices, config.size, config.background)
    return fixed_samples(dataset, config.look.samples, config.fit.seed)


@torch.no_grad()
def score_existence(network: ExistenceModule, samples: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Compare probabilities with labels.

    Args:
        network: in evaluation mode.
        samples: crops (3, S, S) and labels 0 or 1.

    Returns:
        ``accuracy`` at 0.5, ``loss`` (binary cross entropy), ``objects`` (part of the samples that hold one: what always
        saying so would score).
    """
    device = next(network.parameters()).device
    labels = torch.stack([label for _, label in samples]).to(device)
    probabilities = torch.cat(
        [
            network(torch.stack([crop for crop, _ in samples[i : i + _SCORED_TOGETHER]]).to(device)).float()
            for i in range(0, len(samples), _SCORED_TOGETHER)
        ]
    )
    right = (probabilities > THRESHOLD) == (labels > THRESHOLD)
    return {
        "accuracy": float(right.float().mean()),
        "loss": float(F.binary_cross_entropy(probabilities, labels)),
        "objects": float(labels.mean()),
    }


def train_existence(
    config: ExistenceTrainingConfig,
    source: ObjectSource,
    out: str | Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedNetwork:
    """Train, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        config: settings.
        source: images and objects.
        out: run folder.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings or other objects.
        DataError: images cannot be read.
    """
    task = ExistenceTraining(config, source, Path(out))
    return run_training(task, config, device=device, overwrite=overwrite, progress=progress)


def evaluate_existence(
    network: str | Path, config: ExistenceTrainingConfig, source: ObjectSource, *, device: str = "cpu"
) -> dict[str, float]:
    """Score any existence network on the samples that a training would look at.

    Args:
        network: run folder, file, official checkpoint or registered name.
        config: settings of samples and looks.
        source: images and objects.
        device: where the network runs.
    """
    _, looked_at = source.split(config.look.held_out)
    return score_existence(load_existence(network, device=device), _looks(config, source, looked_at))
