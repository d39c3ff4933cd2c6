"""Make the network that the package carries out of a demo folder: python scripts/embed_network.py DEMO_FOLDER.

Its clusters get the names that the held-out scenes of the demo's world give them; tensors are stored in half precision.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import torch

from nolabel.data import CityscapesPanoptic
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cups.model_file import CARD_KIND, MODEL_FILE, load_model
from nolabel.methods.cups.validate import validate
from nolabel.weights import load_checkpoint, save_safetensors


def main(demo: Path) -> None:
    """Write ``nolabel/weights/embedded/cups.safetensors``."""
    torch.set_num_threads(2)
    model = load_model(demo / "network" / MODEL_FILE)
    truth = CityscapesPanoptic(demo / "world", "val", CITYSCAPES_19.name)
    scores = validate(model, (truth[i] for i in range(len(truth))), CITYSCAPES_19, count=len(truth))
    card = load_checkpoint(demo / "network" / MODEL_FILE).metadata
    card = {
        **card,
        "kind": CARD_KIND,
        "alignment": [int(label) for label in scores.assignment],
        "space": CITYSCAPES_19.name,
        "trained_on": "the embedded procedural world, style real, by `nolabel demo`; no labels, no foreign weights",
        "licence": "Apache-2.0",
        "recipe": "cups/demo",
        "scores_on_held_out_scenes": {name: round(value, 4) for name, value in scores.values().items()},
    }
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.network.state_dict().items()
    }
    path = Path(str(resources.files("nolabel"))) / "weights" / "embedded" / "cups.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, state, card)
    print(
        json.dumps(card["scores_on_held_out_scenes"], indent=1),
        f"{path.stat().st_size / 1e6:.1f} MB",
        path.name,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
