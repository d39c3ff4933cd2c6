"""UDASS video: the two-frame networks (net_*), their warp (resample2d) and the resizing of flow (flow_resize)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from golden.support import case_parameters, fill_layout, load_json, load_npz
from nolabel.geometry import backward_warp, resize_flow
from nolabel.models.video_segmentation import (
    AccelDAFormer,
    AccelDeepLab,
    AccelDeepLabConfig,
    FeatureMix,
    TwoFrameSegmentor,
    subtract_mean,
)
from nolabel.weights.layouts import accel_daformer, accel_deeplab
from nolabel.weights.strict import strict_state

pytestmark = pytest.mark.golden

# README table
NETWORK = 1e-4  # of the largest value of the array
WARP, WARP_GRADIENT = 1e-5, 1e-4
FLOW = 1e-5
KINKS = ("integer", "zero", "far")  # flow exactly on a cell edge: one-sided gradients
STORED_STRIDE = 2  # of the fusion outputs


def network(path: Path) -> TwoFrameSegmentor:
    parameters = load_json(path / "params.json")
    state = fill_layout(path / "layout.json", parameters["salt"])
    classes = parameters["num_classes"]
    model: TwoFrameSegmentor
    if "decoder.sf_layer.weight" in state:
        layout: ModuleType = accel_daformer
        model = AccelDAFormer(classes, reference_compat=True)
    else:
        layout = accel_deeplab
        is_teacher = any(name.startswith("layer6.") for name in state)
        config = AccelDeepLabConfig.tps(classes) if is_teacher else AccelDeepLabConfig(classes)
        model = AccelDeepLab(config, reference_compat=True)
    found = layout.to_network(state)
    assert layout.from_network(found).keys() == state.keys()
    assert layout.from_network(model.state_dict()).keys() == state.keys()
    model.load_state_dict(strict_state(model.state_dict(), found))
    return model.eval()


def image_of(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def flow_of(stored: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(stored.astype(np.float64) / 10).permute(2, 0, 1)[None]


def close(actual: torch.Tensor, recorded: np.ndarray, tolerance: float = NETWORK) -> None:
    scale = float(np.abs(recorded).max())
    torch.testing.assert_close(actual.float(), torch.from_numpy(recorded), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("path", case_parameters("udass_video", "net_*"))
@torch.no_grad()
def test_network(path: Path) -> None:
    case = load_npz(path / "io.npz")
    model = network(path)
    caught: dict[str, torch.Tensor] = {}
    if isinstance(model, AccelDeepLab) and model.config.head_channels is not None:
        dropout: torch.nn.Module = model.main.dropout
        watch = dropout.register_forward_hook(lambda *call: caught.update(feature256=call[2]))
        model.frame_scores(image_of(case["cf_rgb"]))
        watch.remove()
    current, key = image_of(case["cf_rgb"]), image_of(case["kf_rgb"])
    if isinstance(model, AccelDAFormer):
        maps = model.backbone(subtract_mean(current))
        caught |= {f"c{stage}": features for stage, features in enumerate(maps, start=1)}
    scores = model(current, key, flow_of(case["flow_int16_x10"]))
    found = {
        "pred": scores.main,
        "pred_aux": scores.auxiliary,
        "cf": scores.current.main,
        "cf_aux": scores.current.auxiliary,
        "kf": scores.key.main,
        "kf_aux": scores.key.auxiliary,
        "single_frame_scores": model.frame_scores(current).main,
        "layer4": scores.current.feature,
        "embedding": scores.current.feature,
        **caught,
    }
    judged = 0
    for name, value in found.items():
        for recorded_name, recorded in case.items():
            stem, _, first = recorded_name.partition("_first")
            if recorded_name == name:
                close(value, recorded)
            elif stem == name and first:
                close(value[:, : int(first)], recorded)
            elif recorded_name in (f"{name}_channel_mean_map", f"{name}_mean_map"):
                close(value.mean(1), recorded)
            else:
                continue
            judged += 1
    assert judged
    if "fusion_pred" in case:
        size = case["longtail_mask"].shape
        static = torch.from_numpy(case["longtail_mask"])[None]
        flow = flow_of(case["fusion_flow_int16_x10"])
        fused = model(current, key, flow, size=size, static=static)
        outputs = {"fusion_pred": fused.main, "fusion_pred_aux": fused.auxiliary}
        if "fusion_pred_release_with_mix" in case:
            mix = FeatureMix(fused.current.feature, torch.from_numpy(case["feature_mask"])[None])
            mixed = model(current, key, flow, size=size, static=static, mix=mix)
            outputs["fusion_pred_release_with_mix"] = mixed.main
        for name, value in outputs.items():
            if name in case:
                close(value[..., ::STORED_STRIDE, ::STORED_STRIDE], case[name])


@pytest.mark.parametrize("path", case_parameters("udass_video", "resample2d"))
def test_warp(path: Path) -> None:
    case = load_npz(path)
    kinds = [name.removeprefix("flow_") for name in case if name.startswith("flow_")]
    assert kinds
    for kind in kinds:
        image = torch.from_numpy(case["image"]).requires_grad_()
        flow = torch.from_numpy(case[f"flow_{kind}"]).requires_grad_()
        warped, _ = backward_warp(image, flow, "bilinear", "border")
        np.testing.assert_allclose(warped.detach(), case[f"bilinear_{kind}"], atol=WARP, err_msg=kind)
        warped.backward(torch.from_numpy(case["grad_out"]))
        np.testing.assert_allclose(image.grad, case[f"grad_image_{kind}"], atol=WARP_GRADIENT, err_msg=kind)
        if kind not in KINKS:
            np.testing.assert_allclose(flow.grad, case[f"grad_flow_{kind}"], atol=WARP_GRADIENT, err_msg=kind)
        nearest, _ = backward_warp(image.detach(), flow.detach(), "nearest_up", "border")
        np.testing.assert_array_equal(nearest, case[f"nearest_{kind}"], err_msg=kind)


@pytest.mark.parametrize("path", case_parameters("udass_video", "flow_resize"))
def test_flow_resize(path: Path) -> None:
    case = load_npz(path)
    names = [name.removesuffix("_int16_x10") for name in case if name.endswith("_int16_x10")]
    assert names
    for name in names:
        expected = case[f"{name}_out"]
        flow = flow_of(case[f"{name}_int16_x10"])
        resized = resize_flow(flow, expected.shape[-2:], reference_compat=True)
        np.testing.assert_allclose(resized, expected, atol=FLOW, err_msg=name)
