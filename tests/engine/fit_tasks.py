"""A small training task with every kind of state; run as a script it trains in a folder."""

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from nolabel.engine.fit import FitConfig, TrainingTask, fit
from nolabel.errors import DataError


class Points(Dataset):
    """A noisy line; the noise is augmentation, drawn from all three global generators."""

    def __init__(self, count: int = 23, noise: float = 0.1, corrupt: int | None = None) -> None:
        self.count, self.noise, self.corrupt = count, noise, corrupt

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        if index == self.corrupt:
            raise DataError(f"sample {index} is corrupt", hint="fetch it again")
        noise = torch.randn(4) + random.gauss(0, 1) + float(np.random.randn())  # noqa: NPY002
        x = torch.linspace(-1, 1, 4) * (index + 1) / self.count + self.noise * noise
        return {"x": x, "y": x.sum()[None], "index": index}


class Line(TrainingTask):
    """Student and slowly following teacher, two optimizers, dropout, a bank and a generator of its own."""

    def __init__(self, *, dropout=0.2, noise=0.1, explode=None, wait=0.0, corrupt=None, two_passes=False):
        self.dropout, self.noise, self.explode, self.wait = dropout, noise, explode, wait
        self.corrupt, self.two_passes = corrupt, two_passes
        self.bank: list[torch.Tensor] = []
        self.generator = torch.Generator().manual_seed(1)
        self.seen: list[int] = []

    def networks(self):
        def net():
            return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8) if self.dropout else nn.Identity(), nn.ReLU(),
                                 nn.Dropout(self.dropout), nn.Linear(8, 1))  # fmt: skip

        student, teacher = net(), net()
        teacher.load_state_dict(student.state_dict())
        return {"student": student, "teacher": teacher.requires_grad_(False)}

    def optimizers(self, networks):
        student = networks["student"]
        return {
            "first": torch.optim.AdamW(student[0].parameters(), lr=1e-2),
            "rest": torch.optim.SGD(
                [*student[1].parameters(), *student[4].parameters()], lr=1e-2, momentum=0.9
            ),
        }

    def train_dataset(self):
        return Points(noise=self.noise, corrupt=self.corrupt)

    def before_step(self, step):
        for group in self.optimizer["rest"].param_groups:
            group["lr"] = 1e-2 / (1 + step)

    def training_step(self, batch, step):
        time.sleep(self.wait)
        self.seen += batch["index"].tolist()
        loss = nn.functional.mse_loss(self.modules["student"](batch["x"]), batch["y"])
        if self.dropout:
            noise = torch.rand(batch["x"].shape, generator=self.generator)
            target = self.modules["teacher"](batch["x"] + 0.1 * noise)
            follow = (self.modules["student"](batch["x"]) - target.detach()).square().mean()
            self.bank = [*self.bank[-2:], batch["x"].mean(0)]
            loss = loss + 0.1 * follow + 0.01 * torch.stack(self.bank).mean() * loss
        if step == self.explode:
            loss = loss * float("nan")
        if self.two_passes:
            self.backward(loss * 0.25)
            loss2 = nn.functional.mse_loss(self.modules["student"](batch["x"]), batch["y"])
            self.backward(loss2 * 0.75)
            return {"loss": (loss * 0.25 + loss2 * 0.75).detach()}
        return {"loss": loss, "line": loss.detach()}

    def after_step(self, step):
        student, teacher = self.modules["student"].state_dict(), self.modules["teacher"].state_dict()
        for name, value in teacher.items():
            if value.is_floating_point():
                value.lerp_(student[name], 0.1)

    def validation(self):
        assert not any(module.training for module in self.modules["student"].modules())
        assert not torch.is_grad_enabled()
        torch.rand(3)  # must not change the training
        x = torch.linspace(-1, 1, 12, device=self.fabric.device).reshape(3, 4)
        return {"error": float((self.modules["student"](x) - x.sum(1, keepdim=True)).abs().mean())}

    def state_dict(self):
        return {"bank": self.bank, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.bank = state["bank"]
        self.generator.set_state(state["generator"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    options = json.loads(sys.argv[2])
    task = Line(**json.loads(sys.argv[3]))
    try:
        fit(task, FitConfig(**options), Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
