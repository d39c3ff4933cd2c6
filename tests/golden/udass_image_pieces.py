"""Golden ``udass_image``: losses, feature distance, teacher, rates, rare classes, data, labels and scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_json, load_npz
from nolabel.data.polygons import polygon_codes
from nolabel.data.sampling import ClassStatistics, count_classes
from nolabel.data.views import View, fitted_size
from nolabel.engine.ema import ramped_rate, update_average
from nolabel.engine.parameter_groups import parameter_groups, scale_rates
from nolabel.labels import raw_table
from nolabel.methods.quadmix.feature_distance import downscale_labels, feature_distance, thing_cells
from nolabel.methods.quadmix.losses import entropy_loss
from nolabel.methods.quadmix.optimizers import OptimizerConfig, build_optimizer, rate_schedule
from nolabel.metrics import CITYSCAPES_SUBSETS, SemanticQuality
from nolabel.models.segmentation.normalise import MEAN, normalise_imagenet

pytestmark = pytest.mark.golden

SCORES = 1e-7  # README table
EXACT = 1e-6
PIXELS = 1e-5


@pytest.mark.parametrize("path", case_parameters("udass_image", "feature_distance*"))
def test_feature_distance(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    meta = load_json(path / "meta.json")
    labels = torch.from_numpy(given["label"])[:, 0]
    features = torch.from_numpy(given["feat"]).requires_grad_()
    reference = torch.from_numpy(given["feat_imnet"])
    size = (features.shape[-2], features.shape[-1])
    num_classes = 1 + max(int(labels[labels < 255].max()), *meta["classes"])
    reduced = downscale_labels(labels, meta["scale"], num_classes, meta["min_ratio"])
    np.testing.assert_array_equal(reduced, recorded["label_down"][:, 0])
    mask = thing_cells(labels, size, meta["classes"], num_classes, meta["min_ratio"])
    np.testing.assert_array_equal(mask, recorded["mask"][:, 0])
    loss = meta["weight"] * feature_distance(features, reference, mask)
    loss.backward()
    np.testing.assert_allclose(loss.item(), recorded["loss"].item(), rtol=EXACT, atol=EXACT)
    assert features.grad is not None
    np.testing.assert_allclose(features.grad, recorded["grad_feat"], rtol=0, atol=EXACT)
    unmasked = feature_distance(features, reference)
    np.testing.assert_allclose(unmasked.item(), recorded["unmasked"].item(), rtol=EXACT)
    if recorded["empty_mask_is_nan"].item():  # ours is 0, with gradients of 0
        features.grad = None
        empty = feature_distance(features, reference, torch.zeros_like(mask))
        empty.backward()
        assert empty.item() == 0 and (features.grad == 0).all()


@pytest.mark.parametrize("path", case_parameters("udass_image", "ema*"))
def test_teacher(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    meta = load_json(path / "meta.json")
    teacher, student = torch.nn.Module(), torch.nn.Module()
    teacher.weight = torch.nn.Parameter(torch.from_numpy(given["teacher0"]))
    for index, step in enumerate(meta["iters"]):
        rate = ramped_rate(step, meta["alpha"])
        np.testing.assert_allclose(rate, recorded["alpha"][index], rtol=EXACT)
        student.weight = torch.nn.Parameter(torch.from_numpy(given["student"][index]))
        update_average(teacher, student, rate)
        np.testing.assert_allclose(teacher.weight.detach(), recorded["teacher"][index], rtol=0, atol=EXACT)


@pytest.mark.parametrize("path", case_parameters("udass_image", "lr_schedule*"))
def test_learning_rates(path: Path) -> None:
    meta, recorded = load_json(path / "meta.json"), load_npz(path / "output.npz")
    config = OptimizerConfig(
        learning_rate=meta["base"],
        power=meta["power"],
        warmup_steps=meta["warmup"],
        warmup_factor=meta["warmup_ratio"],
    )
    names = ("backbone.weight", "head.weight")
    optimizer = build_optimizer([(name, torch.nn.Parameter(torch.zeros(1))) for name in names], config)
    factor = rate_schedule(config, meta["max_iters"])
    for step, expected in zip(meta["iters"], recorded["lr"], strict=True):
        scale_rates(optimizer, factor(step))
        rates = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-9 * meta["base"])


@pytest.mark.parametrize("path", case_parameters("udass_image", "optimizer_groups*"))
def test_parameter_groups(path: Path) -> None:
    recorded = load_json(path / "output.json")
    config = OptimizerConfig()
    parameters = [(name, torch.nn.Parameter(torch.zeros(1))) for name in recorded]
    groups = parameter_groups(parameters, config.rules, config.learning_rate, config.weight_decay)
    found = {n: (g["lr"], g["weight_decay"]) for g in groups for n, _ in g["params"]}
    assert found.keys() == recorded.keys()
    for name, expected in recorded.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("path", case_parameters("udass_image", "minent_loss*"))
def test_entropy_loss(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    loss = entropy_loss(torch.from_numpy(given["logits"]))
    np.testing.assert_allclose(loss.item(), recorded["entropy_loss"].item(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", case_parameters("udass_image", "data_pipeline*"))
@pytest.mark.parametrize("side", ["src", "trg"])
def test_views(path: Path, side: str) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    meta = load_json(path / "meta.json")
    # Crops that were not varied enough come before the one that was used.
    top, left, flip = [draw["value"] for draw in meta["draws"][side]][-3:]
    labels = torch.from_numpy(given[f"{side}_lbl"])
    size = fitted_size((labels.shape[0], labels.shape[1]), tuple(meta[f"{side}_scale"]))
    view = View(size, top, left, tuple(meta["crop"]), flip < 0.5)
    image = torch.from_numpy(np.ascontiguousarray(given[f"{side}_bgr"][..., ::-1])).permute(2, 0, 1)
    found = normalise_imagenet(view.image(image, [value / 255 for value in MEAN])[None])[0]
    np.testing.assert_allclose(found, recorded[f"{side}_img"], rtol=0, atol=PIXELS)
    np.testing.assert_array_equal(view.labels(labels), recorded[f"{side}_lbl"][0])
    if f"{side}_valid" in recorded:
        valid = view.labels(torch.from_numpy(given["valid_mask"]))
        np.testing.assert_array_equal(valid, recorded[f"{side}_valid"][0])


@pytest.mark.parametrize("path", case_parameters("udass_image", "rcs*"))
def test_rare_class_sampling(path: Path, tmp_path: Path) -> None:
    recorded, indices = load_npz(path / "output.npz"), load_json(path / "output.json")
    meta = load_json(path / "meta.json")
    rows = meta["sample_class_stats"]
    (tmp_path / "sample_class_stats.json").write_text(json.dumps(rows))
    statistics = ClassStatistics.read(
        tmp_path, 1 + max(int(key) for row in rows for key in row if key != "file")
    )
    np.testing.assert_array_equal(statistics.order(), recorded["classes"])
    temperatures = {
        name: float(name.removeprefix("prob_T")) for name in recorded if name.startswith("prob_T")
    }
    assert temperatures
    for name, temperature in temperatures.items():
        np.testing.assert_allclose(statistics.probabilities(temperature), recorded[name], rtol=0, atol=EXACT)
    statistics.write(tmp_path)
    assert load_json(tmp_path / "sample_class_stats.json") == rows
    assert load_json(tmp_path / "samples_with_class.json") == indices["samples_with_class"]
    names = [Path(name).name for name in statistics.names]
    found = {
        str(label): [names[image] for image in images]
        for label, images in zip(
            statistics.order().tolist(), statistics.candidates(meta["min_pixels"]), strict=True
        )
    }
    assert found == indices["files_above_min_pixels"]


@pytest.mark.parametrize("path", case_parameters("udass_image", "label_conversion*"))
def test_polygons_and_statistics(path: Path) -> None:
    recorded = load_npz(path / "output.npz")
    annotation = load_json(path / "meta.json")["cityscapes_polygons"]
    codes = polygon_codes(annotation)
    classes = np.where(codes >= 1000, codes // 1000, codes)
    labels = raw_table("cityscapes", "cityscapes_19")[classes]
    np.testing.assert_array_equal(labels, recorded["cityscapes_train"])
    for name, statistics in load_json(path / "output.json").items():
        maps = recorded[name.replace("_stats", "_train")]
        counts = count_classes(torch.from_numpy(maps), len(CITYSCAPES_SUBSETS["19"])).tolist()
        file = statistics.pop("file")
        assert {str(label): n for label, n in enumerate(counts) if n} == statistics, file


@pytest.mark.parametrize("path", case_parameters("udass_image", "miou*"))
def test_scores(path):
    given, recorded, meta = (
        load_npz(path / "input.npz"),
        load_npz(path / "output.npz"),
        load_json(path / "meta.json"),
    )
    classes = len(recorded["IoU"])
    subsets = {"16": meta["classes16"], "13": meta["classes13"]}
    metrics = {
        absent: SemanticQuality(classes, subsets=subsets, absent_classes=absent)
        for absent in ("ignore", "zero")
    }
    for metric in metrics.values():
        metric.update(torch.from_numpy(given["pred"]), torch.from_numpy(given["gt"]))
    scores = metrics["ignore"].compute()
    per_class = {
        "IoU": scores.iou,
        "Acc": scores.recall,
        "Recall": scores.recall,
        "Precision": scores.precision,
        "Dice": scores.dice,
        "Fscore": scores.f_score,
    }
    for name, values in per_class.items():
        np.testing.assert_allclose(values, recorded[name], atol=SCORES, err_msg=name)
    single = {
        "aAcc": scores.accuracy,
        "mIoU_nanmean19": scores.miou,
        "mIoU16": scores.subsets["16"],
        "mIoU13": scores.subsets["13"],
        "mIoU19_zero_filled": metrics["zero"].compute().miou,
    }
    for name, value in single.items():
        np.testing.assert_allclose(value, recorded[name].item(), atol=SCORES, err_msg=name)


@pytest.mark.parametrize("path", case_parameters("udass_image", "miou*"))
def test_subsets_are_those_of_the_benchmark(path):
    meta = load_json(path / "meta.json")
    assert list(CITYSCAPES_SUBSETS["16"]) == meta["classes16"]
    assert list(CITYSCAPES_SUBSETS["13"]) == meta["classes13"]


@pytest.mark.parametrize("case", case_parameters("udass_image", "label_conversion*"))
def test_raw_labels_become_training_ids(case: Path) -> None:
    inputs, outputs = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    for dataset, raw, converted in (
        ("gta5", inputs["gta_raw"], outputs["gta_train"]),
        ("synthia", inputs["synthia_raw_rgb"][..., 0], outputs["synthia_train"]),
    ):
        np.testing.assert_array_equal(raw_table(dataset, "cityscapes_19")[raw], converted)
