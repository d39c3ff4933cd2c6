"""UDASS video: feature mixing, the wrapped strong view, and the mixing of the recorded training iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.support import case_parameters, cases, load_json, load_npz
from nolabel.data.mixing import listed_classes, present_classes
from nolabel.data.photometric import ColourFactors
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip, class_mask
from nolabel.methods.quadmix.draws import (
    Draws,
    PatchDraw,
    Plan,
    choose_source_classes,
    choose_target_classes,
    source_table,
)
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import QuadMixConfig, RareClassesConfig, WindowConfig
from nolabel.methods.quadmix.patches import Patches
from nolabel.methods.quadmix.strong_view import StrongViewConfig, ViewDraws, wrapped_view
from nolabel.models.video_segmentation import FeatureMix
from nolabel.models.video_segmentation.normalise import MEAN

pytestmark = pytest.mark.golden

FEATURES = 1e-5  # tolerances of the folder's README
IMAGES = 1e-4
FLOW = 1e-5
LEAST, LEAST_OF = 5, {14: 100}  # "Minimum patch pixels unchanged (5; class 14: 100)"


@pytest.mark.parametrize("path", case_parameters("udass_video", "feature_mix"))
def test_feature_mix(path: Path) -> None:
    case = {name: torch.from_numpy(array) for name, array in load_npz(path).items()}
    mask = case["mask"][None].bool()
    size = tuple(case["mask_quarter"].shape)
    quarter = F.interpolate(mask[None].float(), size=size, mode="nearest")[0, 0]
    np.testing.assert_array_equal(quarter, case["mask_quarter"])
    for source, target, mixed in (
        ("ss_layer4", "st_layer4", "mixed_layer4"),
        ("vit_ss", "vit_st", "vit_mixed"),
    ):
        found = FeatureMix(case[source], mask).apply(case[target])
        np.testing.assert_allclose(found, case[mixed], atol=FEATURES, err_msg=mixed)


@pytest.mark.parametrize("path", case_parameters("udass_video", "strong_view_roundtrip"))
def test_wrapped_view(path: Path) -> None:
    case = load_npz(path)
    image = torch.from_numpy(case["rgb"]).permute(2, 0, 1).float() / 255
    nothing, one = torch.zeros(1, dtype=torch.bool), torch.ones(1)
    draws = ViewDraws(
        nothing, ColourFactors(one, one, one, one), torch.arange(4)[None], nothing, nothing, one
    )
    clip = Clip(image[None, None], torch.zeros(1, 1, *image.shape[-2:]).long())
    view = wrapped_view(clip, draws, StrongViewConfig(), MEAN).frames[0, 0]
    in_network = view.double().flip(0) * 255 - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]
    np.testing.assert_allclose(in_network, case["out_chw"], atol=1e-5)
    # A wrong wrap would be off by at least one of 256 levels.
    levels = (in_network * 255).round()
    np.testing.assert_array_equal(levels, np.round(case["out_chw"] * 255.0))


def bgr(image: np.ndarray) -> Tensor:
    """The original's input: blue, green, red, less their means (H, W, 3 -> 3, H, W)."""
    values = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1).flip(0)
    return values - torch.tensor(MEAN, dtype=torch.float32)[:, None, None]


def in_unit(values: Tensor) -> Tensor:
    """RGB in [0, 1] (and beyond, for what the original wraps) that the network turns into ``values``."""
    return (values.double() + torch.tensor(MEAN, dtype=torch.float64)[:, None, None]).flip(-3) / 255


def clip_of(frames: list[Tensor], labels: list[np.ndarray], flow: Tensor, confidence: Any = None) -> Clip:
    return Clip(
        in_unit(torch.stack(frames))[None],
        torch.from_numpy(np.stack([np.squeeze(map_) for map_ in labels])).long()[None],
        flow=flow[None, None],
        confidence=None if confidence is None else torch.from_numpy(np.stack(confidence)).float()[None],
    )


def flow_of(file: np.ndarray, size: tuple[int, int]) -> Tensor:
    """A flow file (H, W, 2) at another size, as the original resizes: the height's ratio scales both components."""
    flow = torch.from_numpy(file.astype(np.float64) / 10).permute(2, 0, 1)[None]
    if flow.shape[-2:] != size:
        ratio = size[0] / flow.shape[-2]
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=True) * ratio
    return flow[0].float()


def all_positions(entries: list[dict[str, Any]]) -> list[tuple[int, list[int]]]:
    return [(entry["args"][0], entry["result"]) for entry in entries if entry["fn"] == "np.random.choice"]


def keys_of(ids: list[int]) -> Tensor:
    return 1 - listed_classes(ids, 1).float()


def iterations() -> list[Any]:
    found = [path for folder in cases("udass_video", "train_cnn_*") for path in folder.glob("iter*_in.npz")]
    if not found:
        return case_parameters("udass_video", "train_cnn_*")
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in sorted(found)]


class Recorded:
    """One recorded iteration in the types of the package."""

    def __init__(self, path: Path) -> None:
        given, made = load_npz(path), load_npz(path.with_name(path.name.replace("_in", "_out")))
        number = int(path.stem.removeprefix("iter").removesuffix("_in"))
        self.given, self.made = given, made
        self.choices = all_positions([e for e in load_json(path.parent / "draws.json") if e["it"] == number])
        drawn = given["longtail_classes"].astype(int).tolist()
        extra = set(given["source_class_set"].astype(int).tolist())
        self.source_classes = given["source_classes"].astype(int).tolist()
        rare = sorted(extra - set(self.source_classes) | set(drawn))
        # A rare class that was also drawn as one of the two cannot be told apart; it changes nothing.
        size = given["d_rgb"].shape[:2]
        self.config = QuadMixConfig(
            always_rare=True,
            target_drawn="store",
            rare_last=False,
            reference_compat=True,
            window=WindowConfig(size=size),
            rare=RareClassesConfig(
                classes=tuple(rare),
                number=len(drawn),
                min_pixels=LEAST,
                min_pixels_of=LEAST_OF,
                content="iteration",
                ascending=True,
            ),
        )
        self.source_size = given["src_label"].shape
        self.source = clip_of(
            [torch.from_numpy(made[f"src_img_{frame}"][0]) for frame in ("cf", "kf")],
            [given["src_label"], given["src_label_kf"]],
            flow_of(given["src_flow_int16_x10"], self.source_size),
        )
        self.target = clip_of(
            [torch.from_numpy(given[f"{name}_strong_u8"]).float() / 255 for name in ("d", "c")],
            [made["trg_pl"], made["trg_pl_kf"]],
            flow_of(given["flow_dc_int16_x10"], size),
            [made["trg_pl_logits"][0], made["trg_pl_kf_logits"][0]],
        )
        masks = [given["state_mask_d_last"][0], given["state_mask_c_last"][0]]
        target = clip_of(
            [bgr(given["state_d_last_rgb"]), bgr(given["state_c_last_rgb"])],
            [given["state_pl_last"], given["state_pl_kf_last"]],
            torch.from_numpy(given["state_target_flow_last"][0]),
            masks,
        )
        source = clip_of(
            [torch.from_numpy(given[f"state_src_{frame}_last"][0]) for frame in ("cf", "kf")],
            [given["state_src_label_last"], given["state_src_label_last_kf"]],
            torch.from_numpy(given["state_src_flow_last"][0]),
        )
        every = torch.ones(
            1, 256, dtype=torch.bool
        )  # the masks are ready-made: their classes are no more known
        self.templates = Templates(source, target, every)
        self.plan, self.patches = self.read_patches(sorted(drawn))

    def read_patches(self, classes: list[int]) -> tuple[Plan, Patches]:
        top, left = int(self.given["row"]), int(self.given["col"])
        height, width = self.given["d_rgb"].shape[:2]
        window = np.s_[top : top + height, left : left + width]
        assert self.config.rare is not None
        frames, masks, used = [], [], 0
        for class_id in classes:
            while True:
                mask = self.given[f"bank{used}_label"][window] == class_id
                image = self.given[f"bank{used}_rgb"][window]
                used += 1
                if mask.sum() > self.config.rare.least(class_id):
                    break
            frames.append(torch.from_numpy(image.copy()).permute(2, 0, 1))
            masks.append(torch.from_numpy(mask))
        stacked = (torch.stack(part)[None, None] for part in (frames, masks))
        patches = Patches(tuple(classes), *stacked)
        where = tuple(PatchDraw(place, top, left) for place in range(len(classes)))
        return Plan(torch.tensor([[top, left]]), tuple(classes), where), patches


@pytest.mark.parametrize("path", iterations())
def test_mixing_of_an_iteration(path: Path) -> None:
    case = Recorded(path)
    given, made, config = case.given, case.made, case.config
    mixer = QuadMix(config)
    source_labels = case.templates.source.labels[:, 0]
    target_classes = given["target_classes"].astype(int).tolist()
    chosen = choose_source_classes(
        source_labels, keys_of(case.source_classes), config.source_classes, reference_compat=True
    )
    of_target = choose_target_classes(
        case.target.labels[:, 0], keys_of(target_classes), config.target_classes, chosen
    )
    # The ids drawn are those at the recorded places of what may be drawn.
    candidates = (present_classes(source_labels), present_classes(case.target.labels[:, 0]) & ~chosen)
    for (number, places), there, ids in zip(
        case.choices, candidates, (case.source_classes, target_classes), strict=True
    ):
        listed = there[0].nonzero()[:, 0]
        assert len(listed) == number
        assert listed[places].tolist() == ids

    draws = Draws(chosen, of_target, case.plan)
    whole = class_mask(case.templates.source, source_table(chosen, config))
    np.testing.assert_array_equal(whole[:, 0], made["MixMask"])
    np.testing.assert_array_equal(whole[:, 1], made["MixMask_kf"])

    mixed = mixer.apply(draws, case.source, case.target, case.templates, case.patches)
    for clip, names, flow in (
        (mixed.on_source, ("s_s_cf", "s_s_kf"), "mixed_flow_ss"),
        (mixed.on_target, ("s_t_d", "s_t_c"), "mixed_flow_st"),
    ):
        for frame, name in enumerate(names):
            values = clip.frames[:, frame].flip(-3) * 255 - torch.tensor(MEAN)[:, None, None].double()
            np.testing.assert_allclose(values, made[f"inputs_{name}"], atol=IMAGES, err_msg=name)
            np.testing.assert_array_equal(clip.labels[:, frame], made[f"targets_{name}"], err_msg=name)
        assert clip.flow is not None
        np.testing.assert_allclose(clip.flow[:, 0], made[flow], atol=FLOW, err_msg=flow)
    np.testing.assert_array_equal(mixed.static, made["Masks_longtail"])
    np.testing.assert_array_equal(mixed.pasted, made["MixMask_"])

    kept = mixer.store(draws, case.source, case.target)
    masks = mixer.template_mask(kept)
    np.testing.assert_array_equal(masks[:, 0], made["mask_d"])
    np.testing.assert_array_equal(masks[:, 1], made["mask_c"])
