"""One call of :func:`nolabel.engine.fit.fit`: steps, validation, logging, checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from nolabel.config import Config
from nolabel.engine.batches import StepSampler, make_loader, to_device
from nolabel.engine.distributed import gather_objects, quiet_fabric
from nolabel.engine.fit_config import FitConfig, FitResult
from nolabel.engine.interrupts import Interrupt, interrupts
from nolabel.engine.loggers import open_loggers
from nolabel.engine.memory import release_free_memory
from nolabel.engine.outlook import FIRST_STEPS, expected_time, sample_summary, training_outlook
from nolabel.engine.precision import precision_plugins
from nolabel.engine.progress import Progress
from nolabel.engine.run_folder import RunFolder, settings_identity
from nolabel.engine.seeding import seed_everything, seed_of
from nolabel.engine.training_task import TrainingTask
from nolabel.errors import ConfigError, TrainingError

__all__ = ["TrainingLoop"]


class TrainingLoop:
    """The loop of one call; arguments as those of :func:`~nolabel.engine.fit.fit`."""

    def __init__(
        self,
        task: TrainingTask,
        config: FitConfig,
        folder: RunFolder,
        settings: Config,
        device: str,
        progress: bool,
    ) -> None:
        self.task, self.config, self.folder, self.progress = task, config, folder, progress
        self.settings, self.device = settings, device
        self.metrics: dict[str, float] = {}
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.seen: list[dict[str, Tensor]] = []
        self.data_seconds = 0.0
        self.saved_step = -1

    def run(self) -> FitResult:
        """Train until the end, or until someone asks to stop."""
        began = time.monotonic()
        resumed = self.set_up()
        start = resumed or 0
        config, fabric = self.config, self.fabric
        names = config.loggers if self.first else ()
        self.loggers = open_loggers(names, self.folder.path, settings_identity(self.settings))
        sampler = StepSampler(
            config.batch_size,
            start * config.accumulate,
            config.steps * config.accumulate,
            rank=fabric.global_rank,
            processes=fabric.world_size,
        )
        dataset = self.task.train_dataset()
        batches = make_loader(dataset, self.task.collate, sampler, seed=config.seed, workers=config.workers)
        show = self.progress and self.first
        try:
            with (
                interrupts() as interrupt,
                Progress("training", config.steps, unit="steps", start=start, enabled=show) as bar,
            ):
                self.bar, self.loop_began = bar, time.monotonic()
                samples = config.batch_size * config.accumulate * fabric.world_size
                what = self.task.sample_summary() or sample_summary(dataset, config.steps, samples)
                bar.message(training_outlook(self.networks, config.steps, what, str(fabric.device)))
                for step in range(start, config.steps):
                    self.step(step, batches)
                    if step + 1 == start + FIRST_STEPS < config.steps:
                        left = config.steps - step - 1
                        bar.message(expected_time(self.loop_began, FIRST_STEPS, left))
                    self.after(step + 1, interrupt)
        finally:
            for logger in self.loggers:
                logger.close()
        if self.first:
            self.folder.finish(step=config.steps, metrics=self.metrics)
        fabric.barrier()
        seconds = time.monotonic() - began
        return FitResult(self.folder.path, config.steps, self.metrics, seconds, resumed)

    def set_up(self) -> int | None:
        """Launch, build, and load the newest checkpoint; return its step."""
        config, task = self.config, self.task
        several = config.devices * config.nodes > 1
        quiet_fabric()
        accelerator, devices = _place(self.device, config)
        strategy: Any = DDPStrategy(find_unused_parameters=task.unused_parameters) if several else "auto"
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=config.nodes,
            strategy=strategy,
            **precision_plugins(config.precision, accelerator),
        )
        fabric.launch()
        self.fabric, self.first = fabric, fabric.global_rank == 0
        seed_everything(config.seed)  # the same initial weights in every process
        task.fabric, task._accumulate = fabric, config.accumulate
        self.networks = task.networks()
        # A network without gradients needs no distributed wrapper, and would be refused by it.
        task.modules = {
            name: fabric.setup_module(network)
            if any(parameter.requires_grad for parameter in network.parameters())
            else network.to(fabric.device)
            for name, network in self.networks.items()
        }
        self.optimizers = task.optimizers(self.networks)
        prepared: Any = fabric.setup_optimizers(*self.optimizers.values())
        prepared = prepared if isinstance(prepared, tuple | list) else (prepared,)
        task.optimizer = dict(zip(self.optimizers, prepared, strict=True))
        return self.load()

    def load(self) -> int | None:
        state = self.folder.load()
        if state is None:
            if self.first:
                self.folder.rewind_log(0)
            return None
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.task.load_state_dict(state["task"][self.fabric.global_rank])
        self.metrics = state["metrics"]
        self.saved_step = state["step"]
        if self.first:
            self.folder.rewind_log(state["step"])
            if self.progress:
                print(f"going on from step {state['step']} in {self.folder.path}", file=sys.stderr)
        return state["step"]

    def step(self, step: int, batches: Iterator[Any]) -> None:
        """Do one optimizer step; ``step`` counts from 0."""
        task, config, fabric = self.task, self.config, self.fabric
        task.before_step(step)
        for optimizer in task.optimizer.values():
            optimizer.zero_grad(set_to_none=True)
        for micro in range(config.accumulate):
            waiting = time.monotonic()
            batch = to_device(next(batches), fabric.device)
            self.data_seconds += time.monotonic() - waiting
            # Dropout and every draw of the task are a function of the step, not of what ran before.
            seed_everything(seed_of(config.seed, "step", step, micro, fabric.global_rank))
            with self.no_sync(micro + 1 < config.accumulate):
                losses = task.training_step(batch, step)
                if losses["loss"].requires_grad:
                    task.backward(losses["loss"])
            self.pending.append((step, {name: value.detach() for name, value in losses.items()}))
        if fabric.device.type == "cpu":
            self.flush(log=False)  # costs nothing here, and stops before the weights are spoilt
        for optimizer in task.optimizer.values():
            if config.clip_norm is not None:
                module = next(iter(task.modules.values()))
                fabric.clip_gradients(module, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
            optimizer.step()
        task.after_step(step)

    @contextmanager
    def no_sync(self, enabled: bool) -> Iterator[None]:
        """Leave the exchange of gradients to the last micro-batch."""
        with ExitStack() as stack:
            for module in self.task.modules.values() if enabled and self.fabric.world_size > 1 else ():
                if hasattr(module, "_forward_module"):
                    stack.enter_context(self.fabric.no_backward_sync(module))  # type: ignore[arg-type]
            yield

    def after(self, done: int, interrupt: Interrupt) -> None:
        """Log, validate and save after ``done`` steps, and stop if asked to."""
        config = self.config
        last = done == config.steps
        looking = last or done % config.log_every == 0
        validating = last or (config.validate_every is not None and done % config.validate_every == 0)
        saving = last or done % config.checkpoint_every == 0
        if looking or saving or validating:
            self.flush(log=looking, done=done)
            release_free_memory()
        if validating:
            self.validate(done)
        # Processes must agree on the step they stop at: they talk about it when they log.
        stop = interrupt.asked if self.fabric.world_size == 1 else looking and self.any_asked(interrupt)
        if saving or stop:
            self.save(done)
        self.bar.advance()
        if stop and not last:
            self.bar.message(
                f"stopped after step {done} of {config.steps}; checkpoint written. "
                f"Run the same command again to go on in {self.folder.path}"
            )
            raise KeyboardInterrupt

    def any_asked(self, interrupt: Interrupt) -> bool:
        flag = torch.tensor(float(interrupt.asked), device=self.fabric.device)
        total: Any = self.fabric.all_reduce(flag, reduce_op="sum")
        return bool(total > 0)

    def flush(self, *, log: bool, done: int = 0) -> None:
        """Look at the losses since the last look: refuse what is not finite, log the mean."""
        if self.pending:
            own = torch.stack([losses["loss"].float() for _, losses in self.pending])
            total: Any = self.fabric.all_reduce(own, reduce_op="mean")
            bad = (~torch.isfinite(total)).nonzero()
            if len(bad):
                self.refuse(*self.pending[int(bad[0])])
            self.seen.extend(losses for _, losses in self.pending)
            self.pending = []
        if log and self.seen:
            names = list(dict.fromkeys(name for losses in self.seen for name in losses))
            means = {
                name: float(
                    torch.stack([losses[name].float() for losses in self.seen if name in losses]).mean()
                )
                for name in names
            }
            share = self.data_seconds / max(time.monotonic() - self.loop_began, 1e-9)
            self.bar.note = f"loss {means['loss']:.4g}, {share:.0%} waiting for data"
            self.write_log(done, {f"train/{name}": value for name, value in means.items()})
            self.seen = []

    def refuse(self, step: int, losses: Mapping[str, Tensor]) -> None:
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
        newest = "no checkpoint yet"
        if self.saved_step >= 0:
            newest = f"the checkpoint of step {self.saved_step} is kept"
        raise TrainingError(
            f"the loss is not finite at step {step + 1}: {shown} ({newest} in {self.folder.path})",
            hint="lower the learning rate, set a gradient clip, or use precision 32-true; then use a new --out",
        )

    def validate(self, done: int) -> None:
        """Score in evaluation mode; every module's own mode is put back."""
        modules = [module for network in self.task.modules.values() for module in network.modules()]
        modes = [(module, module.training) for module in modules]
        for network in self.task.modules.values():
            network.eval()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in self.task.validation().items()}
        for module, mode in modes:
            module.training = mode
        if metrics:
            self.metrics = metrics
            self.write_log(done, {f"validation/{name}": value for name, value in metrics.items()})
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self.bar.message(f"step {done}: {shown}")

    def write_log(self, step: int, values: Mapping[str, float]) -> None:
        if self.first:
            self.folder.log(step=step, **values)
            for logger in self.loggers:
                logger.log(step, values)

    def save(self, done: int) -> None:
        extra = gather_objects(self.task.state_dict(), self.fabric.world_size)
        if self.first:
            state = {
                "step": done,
                "networks": {name: network.state_dict() for name, network in self.networks.items()},
                "optimizers": {name: item.state_dict() for name, item in self.optimizers.items()},
                "task": extra,
                "metrics": self.metrics,
            }
            self.folder.save(state, keep=self.config.keep)
        self.saved_step = done


def _place(device: str, config: FitConfig) -> tuple[str, int | list[int]]:
    """Return Fabric's accelerator and devices."""
    if device == "auto":
        return config.accelerator, config.devices
    kind, _, number = device.partition(":")
    if number and config.devices > 1:
        raise ConfigError(
            f"device {device} is one, fit.devices={config.devices} are several", hint=f"--device {kind}"
        )
    # A number of a processor means nothing.
    return kind, [int(number)] if number.isdecimal() and kind != "cpu" else config.devices
