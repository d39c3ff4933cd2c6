"""Batches as a pure function of (seed, step): what a resumed or distributed run needs to see the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nolabel.engine.seeding import generator_of, preserved_random_state, seed_everything, seed_of
from nolabel.errors import DataError, NolabelError

__all__ = ["OrderedDataset", "StepSampler", "make_loader", "to_device"]


class StepSampler(Sampler[list[int]]):
    """Yields the sample positions of one process, batch after batch, from any step on.

    Position p stands for the p-th sample of an endless stream of shuffled epochs. Micro-batch m of all
    processes together takes the next ``batch_size * processes`` positions; process r its contiguous part. Two
    processes with batches of n thus see what one process sees with batches of 2 n.
    """

    def __init__(self, batch_size: int, first: int, last: int, *, rank: int = 0, processes: int = 1) -> None:
        self.batch_size, self.first, self.last = batch_size, first, last
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.first, self.last):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))

    def __len__(self) -> int:
        return self.last - self.first


@runtime_checkable
class OrderedDataset(Protocol):
    """A dataset with a say in the order of an epoch, for instance so that images of one shape share a batch."""

    def epoch_order(self, generator: torch.Generator) -> list[int]:
        """Return the indices of one epoch in a random order; their number must be the same for every epoch."""
        ...


class _Stream(Dataset):
    """The endless stream of shuffled epochs over a dataset; a position seeds its sample's augmentation."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        if len(dataset) == 0:  # type: ignore[arg-type]
            raise DataError("the training data holds no sample", hint="check the data with: nolabel doctor")
        self._orders: dict[int, list[int]] = {}
        self.count = len(self._order(0))

    def __getitem__(self, position: int) -> Any:
        epoch, place = divmod(position, self.count)
        index = self._order(epoch)[place]
        try:
            with preserved_random_state():
                seed_everything(seed_of(self.seed, "sample", position))
                return self.dataset[index]
        except NolabelError as error:
            return error  # raised in the main process: a loader's worker would wrap it in its traceback

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            generator = generator_of(self.seed, "epoch", epoch)
            if isinstance(self.dataset, OrderedDataset):
                order = self.dataset.epoch_order(generator)
            else:
                order = torch.randperm(len(self.dataset), generator=generator).tolist()  # type: ignore[arg-type]
            # A batch may reach over the end of an epoch: two are kept.
            self._orders = {key: self._orders[key] for key in self._orders if key == epoch - 1} | {
                epoch: order
            }
        return self._orders[epoch]


class _Collate:
    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        for sample in samples:
            if isinstance(sample, NolabelError):
                return sample
        return self.collate(samples)


def make_loader(
    dataset: Dataset, collate: Callable[[list[Any]], Any], sampler: StepSampler, *, seed: int, workers: int
) -> Iterator[Any]:
    """Iterate over batches; neither the workers nor the loader touch the global generators.

    Raises:
        NolabelError: what the dataset raised for a sample.
    """
    loader = DataLoader(
        _Stream(dataset, seed),
        batch_sampler=sampler,
        collate_fn=_Collate(collate),
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # else the loader would draw from the global one
        prefetch_factor=2 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, NolabelError):
            raise batch
        yield batch


def to_device(value: Any, device: torch.device) -> Any:
    """Move the tensors in dictionaries, lists, tuples and dataclasses; anything else stays as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(item, device) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(to_device(item, device) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **to_device(fields, device))
    return value
