"""One training of unMORE's networks in a process of its own, for tests that kill it."""

import json
import sys
import time
from pathlib import Path

import torch

from nolabel.engine.fit_config import load_training
from nolabel.methods.unmore import network_training
from nolabel.methods.unmore.existence_training import train_existence
from nolabel.methods.unmore.object_source import open_objects
from nolabel.methods.unmore.objectness_training import train_objectness
from nolabel.methods.unmore.training_settings import ExistenceTrainingConfig, ObjectnessTrainingConfig

FIT = ["fit.batch_size=4", "fit.steps=6", "fit.checkpoint_every=2", "fit.log_every=1", "fit.workers=0"]
LOOK = ["look.held_out=0.25", "look.samples=4", "rate.milestones=[1, 3]", "rate.learning_rate=0.001"]
SMALL = {
    "objectness": [
        *FIT, *LOOK, "network.architecture=tiny", "network.options.width=16", "targets.size=64",
        "targets.canvas=40", "look.pictures=2", "fit.validate_every=3",
    ],
    "existence": [*FIT, *LOOK, "network.architecture=tiny", "size=32", "fit.validate_every=3"],
}  # fmt: skip
KINDS = {
    "objectness": (ObjectnessTrainingConfig, train_objectness),
    "existence": (ExistenceTrainingConfig, train_existence),
}


def run(kind: str, data: Path, out: Path, overrides=(), **options):
    """Train one network on the scenes of a folder."""
    schema, train = KINDS[kind]
    config = load_training(schema, kind, None, [*SMALL[kind], *overrides])
    source = open_objects(data / "images", data / "labels.json", config.objects)
    return train(config, source, out, device="cpu", progress=False, **options)


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, data, out, wait = sys.argv[1:5]
    after = network_training.NetworkTraining.after_step

    def slowly(self, step):
        after(self, step)
        time.sleep(float(wait))

    network_training.NetworkTraining.after_step = slowly
    print(json.dumps(run(kind, Path(data), Path(out)).metrics))
