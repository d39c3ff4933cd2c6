"""The detector from training to scores: kill and resume, exact files, official layouts, evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import nolabel
from nolabel.engine.fit import fit
from nolabel.engine.gradient_clipping import clip_each_tensor
from nolabel.engine.precise_norm import measure_norms
from nolabel.errors import DataError, WeightsError
from nolabel.methods.unmore.detector_data import open_detector_data
from nolabel.methods.unmore.detector_model import (
    DetectorModel,
    load_detector,
    load_initial_weights,
    save_detector,
)
from nolabel.methods.unmore.detector_settings import DetectorConfig
from nolabel.methods.unmore.detector_training import DetectorTraining, build_detector, learning_rate_factor
from nolabel.methods.unmore.evaluate import evaluate
from nolabel.methods.unmore.evaluation_sets import locate_set
from nolabel.methods.unmore.label_files import LabelledImage, write_label_file
from nolabel.models.detection import (
    ClassAgnosticConfig,
    ClassAgnosticMaskRCNN,
    LowestIndexSampler,
    MaskTarget,
)
from nolabel.models.detection.drop_loss import drop_loss_weights
from nolabel.models.detection.region_losses import classification_loss
from nolabel.structures import Instances

TINY = DetectorConfig(
    network="tiny",
    fit={"steps": 3, "batch_size": 2, "checkpoint_every": 1},
    learning_rate=0.01,
    warmup_steps=1,
    precise_norm_batches=1,
    data={"short_sides": (48, 64), "long_side": 96, "only_non_empty": False},
    input_sides=(64, 96),
)


@pytest.fixture
def photos(tmp_path):
    """Three images with a light square on dark ground, one of them without any."""
    images = []
    for number in range(3):
        pixels = np.full((48, 72, 3), 40 * number, np.uint8)
        mask = torch.zeros(1 if number else 0, 48, 72, dtype=torch.bool)
        mask[:, 10:34, 20:50] = True
        pixels[10:34, 20:50] = 250 if number else 0
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        images.append(LabelledImage(f"{number}.png", (48, 72), number + 1, Instances(mask, size=(48, 72))))
    write_label_file(tmp_path / "annotations.json", images)
    return tmp_path


class KilledError(Exception):
    """What a test stops a training with."""


class Fragile(DetectorTraining):
    """Dies in the middle of its second step."""

    def training_step(self, batch, step):
        if step == 1:
            raise KilledError
        return super().training_step(batch, step)


def test_a_killed_training_goes_on_exactly(photos):
    def task(kind, out):
        data = open_detector_data(photos / "images", photos / "annotations.json", TINY.data, batch_size=2)
        return kind(data, photos / out, TINY)

    def run(kind, out):
        fit(task(kind, out), TINY.fit, photos / out, settings=TINY, device="cpu", progress=False)
        return load_detector(photos / out)

    whole = run(DetectorTraining, "whole").network.state_dict()
    with pytest.raises(KilledError):
        run(Fragile, "killed")
    resumed = run(DetectorTraining, "killed")
    assert resumed.input_sides == (64, 96) and resumed.facts["steps"] == 3
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, whole[name]), name
    # And what comes out of it is of use everywhere.
    model = nolabel.load("unmore", photos / "whole", device="cpu", confidence_threshold=0.0)
    results = model(photos / "images")
    assert [result.size for result in results] == [(48, 72)] * 3 and len(results[0]) > 0
    assert (results[0].scores.diff() <= 0).all()
    (photos / "images" / "broken.png").write_bytes(b"no picture")
    summary = model.save(photos / "images", photos / "found", ["coco", "labels"])
    assert summary.count == 3 and [name for name, _ in summary.failed] == ["broken"]
    content = json.loads((photos / "found" / "detection.json").read_text())
    assert {row["category_id"] for row in content["annotations"]} == {1} and len(content["images"]) == 3
    scored = evaluate(model.model, photos / "annotations.json", out=photos / "scores", progress=False)
    again = evaluate(photos / "found" / "detection.json", photos, progress=False)
    assert scored.scores["bbox"].keys() == again.scores["segm"].keys() and scored.number_of_images == 3
    assert json.loads((photos / "scores" / "ap_score.json").read_text())["number_of_annotations"] == len(
        content["annotations"]
    )


def test_images_without_objects_give_losses_that_are_finite():
    torch.manual_seed(0)
    network = ClassAgnosticMaskRCNN(ClassAgnosticConfig.tiny()).train()
    nothing = MaskTarget(
        torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 64, 96, dtype=torch.bool), torch.zeros(0)
    )
    losses = network([torch.rand(3, 64, 96)], [nothing], sampler=LowestIndexSampler())
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["loss_cls_stage0"] == 0  # DropLoss: nothing is known to be background
    trusted = network([torch.rand(3, 64, 96)], [replace(nothing, trusted_background=True)])
    assert trusted["loss_cls_stage0"] > 0
    assert all(p.grad is not None for p in network.parameters())


def test_a_doubtful_object_pulls_both_ways():
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
    classes = torch.tensor([0, 1])
    doubt = classification_loss(logits, classes, torch.tensor([0.25, 0.1]))
    log = logits.log_softmax(1)
    assert torch.allclose(doubt, -(0.25 * log[0, 0] + 0.75 * log[0, 1] + log[1, 1]) / 2)
    dropped = drop_loss_weights(
        [torch.tensor([[0.0, 0, 9, 9]])] * 2, [torch.zeros(0, 4)] * 2, 0.01, [False, True]
    )
    assert dropped.tolist() == [0, 1]


def test_the_learning_rate_warms_up_and_drops():
    config = DetectorConfig(warmup_steps=10, warmup_factor=0.1, drop_steps=(20,), drop_factor=0.5)
    assert [learning_rate_factor(step, config) for step in (0, 10, 19, 20)] == [0.1, 1.0, 1.0, 0.5]
    assert learning_rate_factor(5, config) == pytest.approx(0.55)


def test_each_gradient_is_clipped_alone():
    large, small = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = torch.optim.SGD([large, small], lr=1.0)
    clip_each_tensor(optimizer, 1.0)
    large.grad, small.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])
    optimizer.step()
    assert torch.allclose(large, torch.tensor([-0.6, -0.8])) and torch.allclose(
        small, torch.tensor([-0.3, -0.4])
    )


def test_precise_statistics_are_those_of_all_batches():
    norm = torch.nn.BatchNorm2d(3).train()
    batches = torch.randn(8, 4, 3, 5, 5) * 2 + 1
    assert measure_norms(norm, batches, norm) == 8
    assert torch.allclose(norm.running_mean, batches.mean(dim=(0, 1, 3, 4)), atol=1e-5)
    assert torch.allclose(norm.running_var, batches.var(dim=(0, 1, 3, 4), correction=0), atol=1e-4)


def test_official_files_load_strictly(tmp_path):
    network = build_detector(TINY)
    state = network.state_dict()
    extra = {"proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}
    torch.save({"model": state | extra, "iteration": 29999}, tmp_path / "unMORE_model.pth")
    loaded = load_detector(tmp_path / "unMORE_model.pth")
    assert loaded.input_sides == (800, 1333)
    assert all(torch.equal(value, state[name]) for name, value in loaded.network.state_dict().items())
    torch.save({"model": {k: v for k, v in state.items() if "fc2" not in k}}, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"fc2"):
        load_detector(tmp_path / "cut.pth")
    resnet = {
        name.removeprefix("backbone.bottom_up."): torch.full_like(value, 2)
        for name, value in state.items()
        if name.startswith("backbone.bottom_up.")
    }
    torch.save({"model": resnet}, tmp_path / "resnet.pkl")
    load_initial_weights(network, tmp_path / "resnet.pkl")
    assert (network.backbone.bottom_up.stem["conv1"].weight == 2).all()
    assert torch.equal(
        network.roi_heads.box_predictor[0].cls_score.weight,
        state["roi_heads.box_predictor.0.cls_score.weight"],
    )
    save_detector(DetectorModel(network, (64, 96)), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="no class-agnostic detector"):
        load_detector(tmp_path / "resnet.pkl")


def test_data_sets_are_found_in_their_official_layout(photos, tmp_path):
    root = tmp_path / "sets"
    for folder, name in (("coco", "instances_val2017.json"), ("kitti", "trainval_cls_agnostic.json")):
        (root / folder / "annotations").mkdir(parents=True)
        (root / folder / "annotations" / name).write_bytes((photos / "annotations.json").read_bytes())
    (root / "kitti" / "JPEGImages").mkdir()
    (root / "coco" / "val2017").mkdir()
    found = locate_set(root, "coco_val2017")
    assert found.masks and found.images == (root / "coco" / "val2017",)
    assert not locate_set(root / "kitti").masks
    assert locate_set(root, "cls_agnostic_kitti").name == "kitti"
    with pytest.raises(DataError, match="several data sets: coco_val2017, kitti"):
        locate_set(root)
    with pytest.raises(DataError, match="no labels of VOC"):
        locate_set(root, "voc")


def test_predictions_of_any_stage_are_matched_by_file_name(photos):
    labels = json.loads((photos / "annotations.json").read_text())
    for image in labels["images"]:
        image["id"] += 100
        image["file_name"] = image["file_name"].replace(".png", ".jpg")
    for row in labels["annotations"]:
        row["image_id"] += 100
    (photos / "votecut.json").write_text(json.dumps(labels))
    result = evaluate(photos / "votecut.json", photos, progress=False)
    assert result.scores["segm"]["AP"] == result.scores["bbox"]["AP"] == pytest.approx(100)
    assert "boxes" in result.table() and result.csv().count("\n") == 3
    assert evaluate(photos / "votecut.json", photos, masks=False, progress=False).scores.keys() == {"bbox"}
