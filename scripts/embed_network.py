"""Make the networks that the package carries out of finished runs, tensors in half precision, cards beside them as JSON.

    python scripts/embed_network.py cups DEMO_FOLDER
    python scripts/embed_network.py features RUN --trained-on "..." --time "..."
    python scripts/embed_network.py motion RUN --trained-on "..." --time "..."

The clusters of ``cups`` get the names that the held-out scenes of the demo's world give them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cups.model_file import CARD_KIND, MODEL_FILE, load_model
from nolabel.methods.cups.validate import validate
from nolabel.methods.cups.validation_config import ValidationConfig
from nolabel.structures.files import write_json
from nolabel.weights import load_checkpoint, save_safetensors

FOLDER = Path(str(resources.files("nolabel"))) / "weights" / "embedded"
LICENCE = "Apache-2.0"
PRIVATE = ("command", "footage", "git", "settings", "versions")  # of a run's card


def write(name: str, state: Mapping[str, torch.Tensor], card: dict[str, Any]) -> None:
    """Write ``nolabel/weights/embedded/NAME.safetensors`` and its card."""
    half = {n: v.half() if v.is_floating_point() and v.ndim > 1 else v for n, v in state.items()}
    path = save_safetensors(FOLDER / f"{name}.safetensors", half, card)
    write_json(path.with_suffix(".json"), card)
    print(json.dumps(card, indent=1), f"{path.stat().st_size / 1e6:.1f} MB", path.name, sep="\n")


def embed_pretrained(name: str, run: Path, trained_on: str, time: str, steps: int | None) -> None:
    """Carry the network of a run of ``nolabel pretrain``; what names this machine's folders stays behind."""
    checkpoint = load_checkpoint(run / MODEL_FILE)
    facts = {
        "trained_on": trained_on,
        "trained_for": time,
        "licence": LICENCE,
        "recipe": f"pretrain/{name}_tiny",
    }
    kept = {key: value for key, value in checkpoint.metadata.items() if key not in PRIVATE}
    write(name, checkpoint.state_dict, {**kept, **facts, "steps": steps or kept["steps"]})


def embed_cups(demo: Path) -> None:
    """Carry the network of a demo."""
    torch.set_num_threads(2)
    model = load_model(demo / "network" / MODEL_FILE)
    scores = validate(model, demo / "world", ValidationConfig(space=CITYSCAPES_19.name)).scores
    card = load_checkpoint(demo / "network" / MODEL_FILE).metadata
    card = {
        **card,
        "kind": CARD_KIND,
        "alignment": [int(label) for label in scores.assignment],
        "space": CITYSCAPES_19.name,
        "trained_on": "the embedded procedural world, style real, by `nolabel demo`; no labels, no foreign weights",
        "licence": LICENCE,
        "recipe": "cups/demo",
        "scores_on_held_out_scenes": {name: round(value, 4) for name, value in scores.values().items()},
    }
    write("cups", model.network.state_dict(), card)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=("cups", "features", "motion"))
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--trained-on", default="the procedural world of nolabel; no labels, no foreign weights"
    )
    parser.add_argument("--time", default="", help="how long it took, on what")
    parser.add_argument("--steps", type=int, help="of all runs, where the last one went on from others")
    arguments = parser.parse_args()
    if arguments.name == "cups":
        embed_cups(arguments.run)
    else:
        embed_pretrained(arguments.name, arguments.run, arguments.trained_on, arguments.time, arguments.steps)


if __name__ == "__main__":
    main()
