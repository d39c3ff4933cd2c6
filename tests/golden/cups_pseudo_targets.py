"""Golden case of the targets that pseudo-labels become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.methods.cups.targets import build_target

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "pseudo_label_dataset"))
def test_targets_of_pseudo_labels(case: Path) -> None:
    inputs, outputs = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    size = outputs["image"].shape[-2:]
    top, left = ((full - part) // 2 for full, part in zip(inputs["semantic"].shape, size, strict=True))
    semantic, instances = (
        torch.from_numpy(inputs[name][top : top + size[0], left : left + size[1]])
        for name in ("semantic", "instance")
    )
    variants = sorted(name.removesuffix("_sem_seg") for name in outputs if name.endswith("_sem_seg"))
    assert variants
    for name in variants:
        target = build_target(
            semantic,
            instances,
            outputs[f"{name}_things"].tolist(),
            outputs[f"{name}_stuff"].tolist(),
            ignore_unknown_things=name != "unknown_kept",
            ignore_stuff_objects=name != "stuff_kept",
            reference_compat=True,
        )
        np.testing.assert_array_equal(target.semantic.numpy(), outputs[f"{name}_sem_seg"])
        np.testing.assert_array_equal(target.boxes.numpy(), outputs[f"{name}_boxes"])
        np.testing.assert_array_equal(target.classes.numpy(), outputs[f"{name}_classes"])
        ids = np.arange(1, len(target.classes) + 1)[:, None, None]
        np.testing.assert_array_equal(target.instances.numpy() == ids, outputs[f"{name}_masks"])
