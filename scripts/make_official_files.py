"""Write CUPS weights in the official file formats, to try loading without the official files.

    python scripts/make_official_files.py OUT                            # a small network with random weights
    python scripts/make_official_files.py OUT --case GOLDEN/cups_model/full_eval

With a golden case the tensors are those its outputs were recorded with, so predictions can be compared. The files are
what the original programs write (CUPS specification, section 3): pickled ``yacs`` configurations, optimizer states,
loops and callbacks included, although neither yacs, Lightning nor detectron2 is needed here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "OTHER_SALT",
    "case_state",
    "small_state",
    "write_all",
    "write_detectron2",
    "write_dino",
    "write_stage",
]

State = Mapping[str, Tensor]
BACKBONE = "backbone.bottom_up."
COUNTER = "num_batches_tracked"
OTHER_SALT = 1  # added to the salt of a case: the second network of a stage-3 file


@contextmanager
def yacs_config() -> Iterator[type[dict]]:
    """Make a class that pickles as ``yacs.config.CfgNode`` does; the module is gone afterwards."""

    class CfgNode(dict):
        def __init__(self, values: Mapping[str, Any]) -> None:
            super().__init__({k: CfgNode(v) if isinstance(v, Mapping) else v for k, v in values.items()})
            self.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __renamed_keys__={})

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    modules = {name: types.ModuleType(name) for name in ("yacs", "yacs.config")}
    vars(modules["yacs.config"])["CfgNode"] = CfgNode
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield CfgNode
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def write_stage(path: Path, student: State, teacher: State | None = None) -> Path:
    """Write a Lightning checkpoint: stage 2, or with ``teacher`` stage 3.

    Stage 3 froze the batch normalisations, whose counters are then missing from the file.
    """
    state = OrderedDict((f"model.{name}", value) for name, value in student.items())
    if teacher is not None:
        state.update((f"teacher_model.model.{name}", value) for name, value in teacher.items())
        state = OrderedDict((name, value) for name, value in state.items() if not name.endswith(COUNTER))
    stuff = len(student["sem_seg_head.predictor.bias"]) - 1
    things = len(student["roi_heads.mask_head.predictor.bias"])
    # Real files hold the state of every parameter; two show the structure.
    moments = {
        i: {"step": torch.tensor(4000.0), "exp_avg": v, "exp_avg_sq": v * v} for i, v in _some(student)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with yacs_config() as config:
        settings = {"SYSTEM": {"NUM_GPUS": 4}, "DATA": {"NUM_CLASSES": 27, "CROP_RESOLUTION": (640, 1280)}}
        content = {
            "epoch": 0,
            "global_step": 4000,
            "pytorch-lightning_version": "2.1.0",
            "state_dict": state,
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
            "callbacks": {
                "ModelCheckpoint{'monitor': None}": {"best_model_score": None, "dirpath": str(path.parent)}
            },
            "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-4, "params": list(moments)}]}],
            "lr_schedulers": [],
            "MixedPrecision": {},
            "hparams_name": "kwargs",
            "hyper_parameters": {
                "config": config(settings),
                "thing_pseudo_classes": tuple(range(stuff, stuff + things)),
                "stuff_pseudo_classes": tuple(range(stuff)),
                "class_names": [f"class {i}" for i in range(27)],
                "classes_mask": [True] * 27,
            },
        }
        torch.save(content, path)
    return path


def write_detectron2(path: Path, state: State) -> Path:
    """Write a detectron2 checkpoint: tensors in a ``.pth``, NumPy arrays in a ``.pkl``, under the key ``model``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in state.items()}
        content = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
        path.write_bytes(pickle.dumps(content))
    else:
        optimizer = {"state": {i: {"momentum_buffer": v} for i, v in _some(state)}, "param_groups": []}
        torch.save({"model": dict(state), "optimizer": optimizer, "iteration": 7999}, path)
    return path


def write_dino(path: Path, state: State) -> Path:
    """Write the ResNet of ``state`` as the ``dino_RN50_pretrain_d2_format.pkl`` of CutLER: a latin1 pickle of arrays."""
    arrays = {k.removeprefix(BACKBONE): v.numpy() for k, v in state.items() if k.startswith(BACKBONE)}
    arrays = {name: value for name, value in arrays.items() if not name.endswith(COUNTER)}
    width = arrays["res5.0.conv3.weight"].shape[0]
    arrays |= {"stem.fc.weight": np.zeros((10, width), np.float32), "stem.fc.bias": np.zeros(10, np.float32)}
    content = {"model": arrays, "__author__": "CutLER", "matching_heuristics": True}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def case_state(folder: Path, salt: int = 0) -> dict[str, Tensor]:
    """Return the tensors a golden case was recorded with; another ``salt`` gives another network of the same shape."""
    specification = importlib.util.spec_from_file_location(
        "procedural_weights", folder.parents[1] / "procedural_weights.py"
    )
    assert specification is not None and specification.loader is not None
    procedural = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(procedural)
    meta = json.loads((folder / "meta.json").read_text())
    arrays = procedural.fill(folder.parent / meta["layout"], meta["salt"] + salt)
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for name, factor in meta["scale_after_fill"].items():
        state[name] = state[name] * torch.tensor(factor, dtype=torch.float32)
    return state


def small_state(seed: int = 0, num_things: int = 2, num_stuff: int = 3) -> dict[str, Tensor]:
    """Return the tensors of a small network with random weights."""
    from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PanopticCascadeMaskRCNN(PanopticConfig.tiny(num_things, num_stuff, semantic_norm_groups=32))
    return {name: value.clone() for name, value in network.state_dict().items()}


def write_all(out: Path, state: State, other: State) -> list[Path]:
    """Write ``state`` in every format; ``other`` is the teacher, and the student of ``stage3_teacher.ckpt``."""
    return [
        write_stage(out / "stage2.ckpt", state),
        write_stage(out / "stage3.ckpt", state, other),
        write_stage(out / "stage3_teacher.ckpt", other, state),
        write_detectron2(out / "panoptic.pth", state),
        write_detectron2(out / "panoptic.pkl", state),
        write_dino(out / "dino_RN50_pretrain_d2_format.pkl", state),
    ]


def _some(state: State) -> list[tuple[int, Tensor]]:
    return list(enumerate([value for value in state.values() if value.is_floating_point()][:2]))


def main() -> None:
    """Write the files and print what to do with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "--case", type=Path, help="folder of a golden case, such as golden/cups_model/full_eval"
    )
    arguments = parser.parse_args()
    out, case = arguments.out, arguments.case
    states = (
        [small_state(seed) for seed in (0, 1)]
        if case is None
        else [case_state(case, s) for s in (0, OTHER_SALT)]
    )
    for path in write_all(out, *states):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    images = ""
    if case is not None:
        from nolabel.structures.files import write_png

        with np.load(case / "input.npz") as inputs:
            for name in inputs.files:
                write_png(out / "images" / f"{name}.png", inputs[name].transpose(1, 2, 0))
        threshold = json.loads((case / "meta.json").read_text())["confidence_threshold"]
        images = f"{out}/images --confidence-threshold {threshold}"
    for name in ("stage2.ckpt", "stage3_teacher.ckpt --part teacher", "panoptic.pkl"):
        print(f"nolabel cups predict {out}/{name} {images or 'IMAGES'} --out predictions")
    print(f"nolabel convert {out}/stage3.ckpt {out}/converted --part teacher")


if __name__ == "__main__":
    main()
