"""What a method trains, as the training loop sees it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

__all__ = ["TrainingTask"]


class TrainingTask:
    """What a method trains. Subclass it; only the first four methods must be written.

    While :func:`fit` runs it sets, before the first step:

    Attributes:
        fabric: devices and precision (``self.fabric.autocast()`` for networks without gradients).
        modules: the networks by name, on their device and ready for distributed work: call these.
        optimizer: the optimizers by name.
    """

    fabric: Fabric
    modules: dict[str, nn.Module]
    optimizer: dict[str, torch.optim.Optimizer]
    unused_parameters: ClassVar[bool] = False
    """True if some trainable parameters get no gradient in some steps (only matters on several devices)."""
    _accumulate: int = 1

    def networks(self) -> dict[str, nn.Module]:
        """Build every network whose weights belong into the checkpoint (students, teachers, ...)."""
        raise NotImplementedError

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Build the optimizers over the networks' parameters."""
        raise NotImplementedError

    def train_dataset(self) -> Dataset:
        """Open the map-style training data; its augmentation may draw from any global generator."""
        raise NotImplementedError

    def training_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Compute the losses of one micro-batch; ``step`` counts from 0.

        Returns:
            Scalars by name. ``"loss"`` is what is minimised: their (weighted) sum. A step of several backward
            passes calls :meth:`backward` itself and returns a detached ``"loss"``. Under several processes the
            gradients are averaged.
        """
        raise NotImplementedError

    def collate(self, samples: list[Any]) -> Any:
        """Make a batch of samples."""
        return default_collate(samples)

    def before_step(self, step: int) -> None:
        """Set learning rates and the like, as a function of the step."""

    def after_step(self, step: int) -> None:
        """Update teachers and the like, once the optimizers have stepped."""

    def validation(self) -> dict[str, float]:
        """Score the networks (in evaluation mode, without gradients), on all processes together."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return extra state (banks, own generators) as tensors and plain values; each process its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""

    def sample_summary(self) -> str | None:
        """Return what a step is made of, where samples of the dataset are not what people count: ``2 of 40 images``."""
        return None

    def backward(self, loss: Tensor) -> None:
        """Do one of several backward passes of a step."""
        self.fabric.backward(loss / self._accumulate)
