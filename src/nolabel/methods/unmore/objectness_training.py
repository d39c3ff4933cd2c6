"""Training of the objectness network: boundary and centre field of the one object in a crop.

Source: unMORE specification, 5 (ICML 2025, 3.2).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.methods.unmore.fields_picture import draw_fields_and_targets
from nolabel.methods.unmore.network_files import load_objectness, save_network, start_objectness
from nolabel.methods.unmore.network_training import NetworkTraining, TrainedNetwork, run_training
from nolabel.methods.unmore.object_source import ObjectSource
from nolabel.methods.unmore.objectness_losses import objectness_losses
from nolabel.methods.unmore.targets import ObjectTargets, object_targets
from nolabel.methods.unmore.training_samples import FieldSamples, fixed_samples
from nolabel.methods.unmore.training_settings import ObjectnessTrainingConfig, TargetConfig
from nolabel.models.objectness import ObjectnessMaps, ObjectnessModule
from nolabel.structures.files import write_png

__all__ = ["evaluate_objectness", "score_fields", "train_objectness"]

PICTURES = "fields"
_SCORED_TOGETHER = 16


class ObjectnessTraining(NetworkTraining):
    """A training as the loop sees it.

    Args:
        config: settings.
        source: images and objects.
        out: run folder; the finished network and pictures of fields are written there.
    """

    def __init__(self, config: ObjectnessTrainingConfig, source: ObjectSource, out: Path) -> None:
        super().__init__(config.rate, config.fit, source, config.look.held_out, out)
        self.config = config
        self._looks: list[Any] | None = None

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        network = self.config.network
        self.network = start_objectness(
            network.architecture, network.options, network.initial, network.inputs
        )
        return {"network": self.network.train()}

    def train_dataset(self) -> Dataset[Any]:
        """Return random crops."""
        return FieldSamples(self.source, self.learned, self.config.targets)

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Draw the targets, predict, and return the terms of the loss."""
        targets = targets_of(batch, self.config.targets)
        usable = targets.usable
        # Crops without object or without background teach nothing. Should there be no others, the first one stands in,
        # without weight: every process of a distributed training must take part.
        weight = float(usable.any())
        chosen = usable if weight else torch.arange(len(usable), device=usable.device) == 0
        module: Any = self.modules["network"]
        if hasattr(module, "mark_forward_method"):
            module.mark_forward_method("maps")
        boundary, centre = module.maps(batch["image"][chosen])
        losses = objectness_losses(boundary, centre, targets[chosen], self.config.loss)
        losses["loss"] = losses["loss"] * weight
        return losses

    def validation(self) -> dict[str, float]:
        """Score fields of fixed crops, and draw some."""
        look = self.config.look
        if self._looks is None:
            dataset = FieldSamples(self.source, self.looked_at, self.config.targets)
            self._looks = fixed_samples(dataset, look.samples, self.config.fit.seed)
        path = self.out / PICTURES / f"step_{self.done:08d}.png"
        with self.fabric.autocast():
            return score_fields(
                self.network,
                self._looks,
                self.config.targets,
                picture=path if self.fabric.global_rank == 0 else None,
                pictures=look.pictures,
            )

    def save(self, path: Path) -> None:
        """Write the network."""
        network = self.config.network
        save_network(self.network, path, "objectness", network.architecture, network.options, steps=self.done)


def targets_of(batch: dict[str, Tensor], config: TargetConfig) -> ObjectTargets:
    """Draw the fields of a batch of samples, on its device."""
    return object_targets(
        batch["mask"], batch["crop"], config.size, background=config.background, metric=config.metric
    )


@torch.no_grad()
def score_fields(
    network: ObjectnessModule,
    samples: list[Any],
    config: TargetConfig,
    *,
    picture: Path | None = None,
    pictures: int = 10,
) -> dict[str, float]:
    """Compare the fields that a network draws with those of the masks.

    Args:
        network: in evaluation mode.
        samples: of :class:`~nolabel.methods.unmore.training_samples.FieldSamples`; crops without object or background
            do not count.
        config: how targets are made.
        picture: where a sheet of the first samples is written.
        pictures: how many samples it shows.

    Returns:
        ``boundary_error``: mean difference of the boundary fields; ``mask_iou``: mean overlap of what lies inside
        (boundary above 0) with the object; ``centre_degrees``: mean angle between centre fields inside the object.
    """
    device = next(network.parameters()).device
    scores: list[Tensor] = []
    drawn: list[tuple[Tensor, ObjectnessMaps, ObjectTargets]] = []
    for start in range(0, len(samples), _SCORED_TOGETHER):
        some = samples[start : start + _SCORED_TOGETHER]
        batch = {name: torch.stack([sample[name] for sample in some]).to(device) for name in some[0]}
        targets = targets_of(batch, config)
        usable = targets.usable
        if not bool(usable.any()):
            continue
        targets, images = targets[usable], batch["image"][usable]
        maps = network(images)
        boundary, centre = maps.boundary.float(), maps.centre.float()
        inside = boundary > 0
        both, either = (inside & targets.mask).sum((1, 2)), (inside | targets.mask).sum((1, 2))
        cosine = torch.nn.functional.cosine_similarity(centre, targets.centre, dim=1).clamp(-1, 1)
        degrees = torch.rad2deg(torch.arccos(cosine)) * targets.mask
        scores.append(
            torch.stack(
                [
                    (boundary - targets.boundary).abs().mean((1, 2)),
                    both / either,
                    degrees.sum((1, 2)) / targets.mask.sum((1, 2)),
                ],
                dim=1,
            )
        )
        drawn.append((images, ObjectnessMaps(boundary, centre), targets))
    if not scores:
        return {}
    if picture is not None and pictures:
        _draw(picture, drawn, pictures)
    error, overlap, angle = torch.cat(scores).mean(0).tolist()
    return {"boundary_error": error, "mask_iou": overlap, "centre_degrees": angle}


def _draw(path: Path, drawn: list[tuple[Tensor, ObjectnessMaps, ObjectTargets]], count: int) -> None:
    images = torch.cat([part[0] for part in drawn])[:count].cpu()
    maps = ObjectnessMaps(
        *(
            torch.cat([getattr(part[1], name) for part in drawn])[:count].cpu()
            for name in ("boundary", "centre")
        )
    )
    names = [entry.name for entry in dataclasses.fields(ObjectTargets)]
    targets = ObjectTargets(
        *(torch.cat([getattr(part[2], name) for part in drawn])[:count].cpu() for name in names)
    )
    write_png(path, draw_fields_and_targets(images, maps, targets))


def train_objectness(
    config: ObjectnessTrainingConfig,
    source: ObjectSource,
    out: str | Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedNetwork:
    """Train, or go on, and leave ``model.safetensors`` and ``fields/*.png`` in the run folder.

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
    task = ObjectnessTraining(config, source, Path(out))
    trained = run_training(task, config, device=device, overwrite=overwrite, progress=progress)
    sheets = sorted((Path(out) / PICTURES).glob("step_*.png"))
    return dataclasses.replace(trained, picture=sheets[-1] if sheets else None)


def evaluate_objectness(
    network: str | Path,
    config: ObjectnessTrainingConfig,
    source: ObjectSource,
    out: Path,
    *,
    device: str = "cpu",
) -> dict[str, float]:
    """Score any objectness network on the samples that a training would look at, and draw its fields.

    Args:
        network: run folder, file, official checkpoint or registered name.
        config: settings of samples and looks.
        source: images and objects.
        out: folder; ``fields.png`` is written there.
        device: where the network runs.
    """
    _, looked_at = source.split(config.look.held_out)
    samples = fixed_samples(
        FieldSamples(source, looked_at, config.targets), config.look.samples, config.fit.seed
    )
    model = load_objectness(network, device=device)
    picture = Path(out) / "fields.png"
    return score_fields(model, samples, config.targets, picture=picture, pictures=config.look.pictures)
