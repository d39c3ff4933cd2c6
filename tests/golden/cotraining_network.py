"""Golden ``cotraining``: the published DeepLabV3+ forward, through its post-processing, and in training."""

from pathlib import Path

import pytest
import torch

from golden.support import case_parameters, fill_layout, load_json, load_npz, need_root
from nolabel.data.resizing import resize_image
from nolabel.engine.segmentation_inference import label_and_confidence, predict, scores_at, shortest_edge_size
from nolabel.engine.segmentation_networks import load_network_state
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy
from nolabel.methods.cotraining.pseudo_labels import ImageScores, drop_unsure, score_images
from nolabel.methods.cotraining.selection import rank_images, selected_label
from nolabel.methods.cotraining.thresholds import class_thresholds
from nolabel.models.segmentation import DeepLabConfig, DeepLabV3Plus, enlarge
from nolabel.weights.layouts import deeplab_v3_plus

pytestmark = pytest.mark.golden

FEATURE_STRIDE = 16
# README table
LOGITS, AGREEMENT = 1e-4, 0.999
STEP_ZERO = {
    "loss_0": 1e-4,
    "gradnorm_0": 0.03,
    "grad_0:sem_seg_head.predictor.bias": 0.01,
    "grad_0:sem_seg_head.decoder.res5.project_conv.convs.4.1.bias": 0.06,
    "grad_0:backbone.stem": 0.15,
    "param:sem_seg_head": 1e-4,
}
CONFIDENCE = 1e-3  # of the end-to-end case
NORMS_OF = (
    "backbone.stem.conv1.weight",
    "backbone.res4.11.conv2.weight",
    "sem_seg_head.predictor.weight",
)


def network(parameters: dict, dropout: float = 0.1) -> DeepLabV3Plus:
    crop = parameters["crop"]
    state = fill_layout(need_root() / "cotraining" / "layout.json", parameters.get("salt", 0))
    window = None if crop is None else (crop[0] // FEATURE_STRIDE, crop[1] // FEATURE_STRIDE)
    num_logits = len(state["sem_seg_head.predictor.bias"])
    model = DeepLabV3Plus(DeepLabConfig(num_logits, pooling_window=window, dropout=dropout))
    load_network_state(model, state)
    return model


def images_of(given: dict) -> torch.Tensor:
    return torch.from_numpy(given["images"]).permute(0, 3, 1, 2).float() / 255


def close(actual: torch.Tensor, recorded, tolerance: float) -> None:
    torch.testing.assert_close(actual.float(), torch.from_numpy(recorded), rtol=0, atol=tolerance)


def test_the_layout_is_the_published_one() -> None:
    state = fill_layout(need_root() / "cotraining" / "layout.json")
    assert deeplab_v3_plus.from_network(deeplab_v3_plus.to_network(state)).keys() == state.keys()
    model = DeepLabV3Plus()
    assert deeplab_v3_plus.from_network(model.state_dict()).keys() == state.keys()


@pytest.mark.parametrize("path", case_parameters("cotraining", "forward_*"))
@torch.no_grad()
def test_forward(path: Path) -> None:
    recorded, images = load_npz(path / "output.npz"), images_of(load_npz(path / "input.npz"))
    model = network(load_json(path / "params.json")).eval()
    stages: dict[str, torch.Tensor] = {}
    model.backbone.register_forward_hook(lambda *call: stages.update(call[2]))
    logits = model(images)
    close(logits, recorded["logits_stride4"], LOGITS)
    full = enlarge(logits, model.stride, images.shape[-2:])
    close(full[:, :, images.shape[-2] // 3], recorded["logits_full_row"], LOGITS)
    assert (full.argmax(1).numpy() == recorded["argmax"]).mean() >= AGREEMENT
    for name in ("res2", "res5"):
        mean = recorded[f"{name}_channel_mean"]
        close(stages[name].mean((2, 3)), mean, 1e-4 * max(1.0, float(abs(mean).max())))


@pytest.mark.parametrize("path", case_parameters("cotraining", "postprocess*"))
@torch.no_grad()
def test_postprocess(path: Path) -> None:
    recorded, parameters = load_npz(path / "output.npz"), load_json(path / "params.json")
    images, out = images_of(load_npz(path / "input.npz")), tuple(parameters["out"])
    scores = scores_at(network(parameters).eval().full_size_logits(images), out)
    close(scores[0, :, out[0] // 2], recorded["logits_row"], LOGITS)
    labels, confidence = label_and_confidence(scores)
    close(confidence[0], recorded["conf"], LOGITS)
    assert (labels[0].numpy() == recorded["label"]).mean() >= AGREEMENT


@pytest.mark.parametrize("path", case_parameters("cotraining", "train_step*"))
def test_training_step(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    parameters = load_json(path / "params.json")
    model = network(parameters, dropout=0.0).train()
    images, labels = images_of(given), torch.from_numpy(given["labels"]).long()
    decayed = [p for n, p in model.named_parameters() if ".norm." not in n]
    others = [p for n, p in model.named_parameters() if ".norm." in n]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=parameters["lr"], momentum=0.9)
    values: dict[str, torch.Tensor] = {}
    for step in range(2):
        optimizer.zero_grad()
        loss = hard_pixel_cross_entropy(
            model.full_size_logits(images), labels, ignore_index=model.num_logits - 1
        )
        loss.backward()
        if step == 0:
            gradients = deeplab_v3_plus.from_network({n: p.grad for n, p in model.named_parameters()})
            values |= {f"grad_0:{name}": gradient for name, gradient in gradients.items()}
            values["gradnorm_0"] = torch.stack([gradients[name].norm() for name in NORMS_OF])
            values["loss_0"] = loss.detach()
        optimizer.step()
    state = deeplab_v3_plus.from_network(model.state_dict())
    values |= {f"param:{name}": value for name, value in state.items()}
    judged = 0
    for name, expected in recorded.items():
        tolerance = next((limit for start, limit in STEP_ZERO.items() if name.startswith(start)), None)
        if tolerance is not None:
            target = torch.from_numpy(expected)
            assert float((values[name] - target).norm() / target.norm()) <= tolerance, name
            judged += 1
    assert judged


@pytest.mark.parametrize("path", case_parameters("cotraining", "end_to_end_pseudolabels*"))
@torch.no_grad()
def test_from_images_to_selected_pseudo_labels(path: Path) -> None:
    recorded, parameters = load_npz(path / "output.npz"), load_json(path / "params.json")
    images = torch.from_numpy(load_npz(path / "input.npz")["images"]).permute(0, 3, 1, 2)
    model = network(parameters).eval()
    for tensor in (model.classifier.weight, model.classifier.bias):
        tensor.mul_(parameters["pred_scale"])
    native = (images.shape[-2], images.shape[-1])
    size = shortest_edge_size(native, *parameters["test"])
    predictions = [predict(model, resize_image(image, size)[None].float() / 255, native) for image in images]
    labels = torch.cat([p.labels for p in predictions])
    confidence = torch.cat([p.confidence for p in predictions])
    assert (labels.numpy() == recorded["infer_label"]).mean() >= AGREEMENT
    close(confidence, recorded["infer_conf"], CONFIDENCE)
    thresholds = class_thresholds(predictions, len(recorded["thresholds"]), parameters["portion"])
    assert abs(thresholds.numpy() - recorded["thresholds"]).max() <= CONFIDENCE
    pseudo = drop_unsure(labels, confidence, thresholds)
    assert (pseudo.numpy() == recorded["pseudo"]).mean() >= AGREEMENT
    parts = [
        score_images(pseudo[i : i + 1], confidence[i : i + 1], thresholds, reference_compat=True)
        for i in range(len(images))
    ]
    scores = ImageScores.join(parts)
    close(scores.score, recorded["scores"][:, -1], CONFIDENCE)
    chosen = rank_images(scores, "confidence")[: parameters["number"]]
    rows = [selected_label(f"im{i}.png", f"im{i}.png", scores, i).row().split() for i in chosen]
    expected = [row.split() for row in str(recorded["filenames_and_scores"]).splitlines()]
    assert [row[0] for row in rows] == [row[0] for row in expected] == recorded["selected"].tolist()
    for row, wanted in zip(rows, expected, strict=True):
        assert float(row[1]) == pytest.approx(float(wanted[1]), abs=CONFIDENCE)
        assert float(row[2]) == pytest.approx(float(wanted[2]), abs=(1 - AGREEMENT) * labels[0].numel())
