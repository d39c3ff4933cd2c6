"""Validation from files to numbers: every layout, protocols, failures, and what is left behind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner, Result

import nolabel
from nolabel.cli import app
from nolabel.config import load_config
from nolabel.data import open_labels
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cups import validate as validation
from nolabel.methods.cups.cluster_sources import NetworkClusters, cluster_distribution, with_confidence
from nolabel.methods.cups.depthg.crops import central_square
from nolabel.methods.cups.kept_predictions import KeptPredictions
from nolabel.methods.cups.semantic_protocol import nearest_square
from nolabel.methods.cups.validate import target_of, validate
from nolabel.methods.cups.validation_config import ValidationConfig
from nolabel.recipes import recipe_names
from nolabel.structures import PanopticMap
from nolabel.structures.coco import save_coco_panoptic
from nolabel.viz import to_picture

from .validation_data import (
    HEIGHT,
    LABELS_19,
    WIDTH,
    WRITERS,
    cityscapes,
    kitti_panoptic,
    perfect_pseudo_labels,
    save,
    street,
    waymo,
)

PROTOCOLS = [name for name in recipe_names() if name.startswith("cups/validate/")]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cups", "validate", *map(str, arguments)])


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cityscapes-like data and perfect pseudo-labels."""
    root = tmp_path_factory.mktemp("streets")
    return root, perfect_pseudo_labels(tmp_path_factory.mktemp("labels"), cityscapes(root))


# --- layouts and kinds of predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
def test_perfect_clusters_score_one_in_every_layout(tmp_path: Path, layout: str) -> None:
    names = WRITERS[layout](tmp_path / "data")
    labels = perfect_pseudo_labels(tmp_path / "labels", names)
    scores = validate(labels, tmp_path / "data", progress=False).scores
    assert scores.pq == scores.pq_things == scores.pq_stuff == scores.miou == scores.accuracy == 1
    pieces = 3 if len(scores.class_names) == 2 else 5  # two persons, and one or three regions of stuff
    assert scores.true_positives.sum() == 2 * pieces


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_protocols_run_on_their_layout(tmp_path: Path, protocol: str) -> None:
    config = load_config(ValidationConfig, protocol, crop=None)
    assert config.protocol == protocol and config.dataset is not None
    assert set(config.published) <= {"pq"}
    names = WRITERS[config.dataset](tmp_path / "data")
    labels = perfect_pseudo_labels(tmp_path / "labels", names)
    result = validate(
        labels, tmp_path / "data", config.replaced(semantic={"center_crop": None}), progress=False
    )
    assert result.scores.pq == 1 and result.space.name == config.space


def test_published_crops_pad_like_the_original(tmp_path: Path) -> None:
    kitti_panoptic(tmp_path, 1)
    sample = open_labels(tmp_path, crop="published")[0]
    assert sample["image"].shape == (3, 368, 1240)
    assert (sample["semantic"][HEIGHT:] == 255).all() and (sample["semantic"][:4, :WIDTH] == 16).all()


def test_waymo_leaves_out_what_it_does_not_label(tmp_path: Path) -> None:
    config = load_config(ValidationConfig, "cups/validate/waymo", crop=None)
    labels = perfect_pseudo_labels(tmp_path / "labels", waymo(tmp_path / "data"))
    result = validate(labels, tmp_path / "data", config, progress=False)
    assert not {"wall", "fence", "terrain"} & set(result.scores.class_names)
    assert len(result.scores.class_names) == 16
    with pytest.raises(ConfigError, match="no class 'fense'"):
        validate(
            labels, tmp_path / "data", ValidationConfig(ignored_classes=("fense",), space="cityscapes_19")
        )


def named_prediction(n: int) -> PanopticMap:
    pieces, instances = street(n)
    return PanopticMap(LABELS_19[pieces], instances, CITYSCAPES_19)


@pytest.mark.parametrize("kind", ["label maps", "coco", "label maps without categories"])
def test_named_predictions_need_no_matching(streets: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    data, _ = streets
    names = open_labels(data).names
    if kind == "coco":
        pairs = [(name, named_prediction(n)) for n, name in enumerate(names)]
        save_coco_panoptic(pairs, CITYSCAPES_19, tmp_path)
    else:
        for n, name in enumerate(names):
            named_prediction(n).save(tmp_path, f"val_ulm_{name}")  # as `predict` names a nested folder
        if "without" in kind:
            for path in tmp_path.glob("*_panoptic.*"):
                path.unlink()
    result = validate(tmp_path, data, ValidationConfig(space="cityscapes_19"), progress=False)
    assert not result.matched and result.scores.pq == 1
    if "without" not in kind:  # the names decide what is left in another space
        assert (
            validate(tmp_path, data, ValidationConfig(space="cityscapes_27"), progress=False).scores.pq == 1
        )


def test_labels_of_half_size_are_compared_at_the_size_of_the_truth(tmp_path: Path) -> None:
    sizes = [(HEIGHT, WIDTH)] * 2
    names = cityscapes(tmp_path / "data", 2, [(2 * h, 2 * w) for h, w in sizes])
    labels = perfect_pseudo_labels(tmp_path / "labels", names, sizes)
    assert validate(labels, tmp_path / "data", progress=False).scores.pq > 0.6
    perfect_pseudo_labels(tmp_path / "labels", names, [(HEIGHT, HEIGHT)] * 2)
    with pytest.raises(DataError, match="48x48 pixels, its label 96x128"):
        validate(labels, tmp_path / "data", progress=False)


def test_what_cannot_be_told_is_asked_for(streets: tuple[Path, Path], tmp_path: Path) -> None:
    data, labels = streets
    (tmp_path / "empty").mkdir()
    for wrong, message in ((tmp_path / "empty", "is empty"), (tmp_path / "none", "there is no folder")):
        with pytest.raises(DataError, match=message):
            validate(labels, wrong, progress=False)
        with pytest.raises(DataError, match=r"holds no predictions|there is no folder"):
            validate(wrong, data, progress=False)
    WRITERS["mots"](tmp_path / "both")
    WRITERS["cityscapes"](tmp_path / "both")
    with pytest.raises(DataError, match="several data sets: cityscapes, mots"):
        validate(labels, tmp_path / "both", progress=False)
    with pytest.raises(ConfigError, match="the CRF belongs to"):
        load_config(ValidationConfig, overrides=["semantic.crf={}"])
    with pytest.raises(ConfigError, match="needs class probabilities"):
        crf = {"center_crop": 32, "crf": {"iterations": 1}}
        validate(labels, data, load_config(ValidationConfig, semantic=crf), progress=False)


# --- networks ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> nolabel.Pipeline:
    return nolabel.load("cups", device="cpu", confidence_threshold=0.2)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nolabel.world import Rig, WorldSettings, write_world

    root = tmp_path_factory.mktemp("world")
    write_world(root, WorldSettings(scenes=2, frames=1, split="val", rig=Rig(size=(96, 192))))
    return root


def clusters(network: nolabel.Pipeline, world: Path, **settings: object) -> list[torch.Tensor]:
    dataset = open_labels(world, space="cityscapes_19")
    source = NetworkClusters(network.model, load_config(ValidationConfig, **settings), dataset.space)
    return [source.predict([dataset[i]])[0].ids for i in range(len(dataset))]


def test_one_plain_view_is_no_augmentation(network: nolabel.Pipeline, world: Path) -> None:
    one_view = {"enabled": True, "scales": (1.0,), "mirror": False}
    plain, viewed = clusters(network, world), clusters(network, world, tta=one_view)
    assert any((ids[..., 1] > 0).any() for ids in plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, viewed, strict=True))
    by_pixels = clusters(network, world, tta={**one_view, "short_sides": (96,)})
    assert all(torch.equal(a, b) for a, b in zip(plain, by_pixels, strict=True))
    many = clusters(network, world, tta={"enabled": True})
    assert any(not torch.equal(a, b) for a, b in zip(plain, many, strict=True))


def test_saved_predictions_score_like_the_model(world: Path, tmp_path: Path) -> None:
    arguments = ["cups", "predict", "embedded", str(world), "--out", str(tmp_path), "--device", "cpu"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    settings = {"space": "cityscapes_19", "matching": {"mode": "stored"}, "progress": False}
    direct = nolabel.evaluate(nolabel.load("cups", device="cpu"), world, **settings)
    saved = nolabel.evaluate(tmp_path, world, **settings)
    np.testing.assert_array_equal(saved.scores.iou_sum, direct.scores.iou_sum)
    assert saved.scores.pq == direct.scores.pq > 0 and saved.scores.miou == direct.scores.miou


def test_the_threshold_reaches_the_network(network: nolabel.Pipeline, world: Path) -> None:
    found = [
        max(int(ids[..., 1].max()) for ids in clusters(network, world, confidence_threshold=t))
        for t in (0.2, 0.99)
    ]
    assert found[0] > found[1]
    assert with_confidence(network.model, 0.2) is network.model


def test_probabilities_agree_with_the_panoptic_map(network: nolabel.Pipeline, world: Path) -> None:
    image = torch.as_tensor(open_labels(world)[0]["image"])
    prediction = network.model.network.predict([image])[0]
    shares = cluster_distribution(prediction, network.model.num_clusters, probabilities=False)
    cluster, instance = prediction.cluster_maps()
    assert torch.allclose(shares.sum(0), torch.ones_like(shares[0]), atol=1e-5)
    known = cluster != 255
    assert (instance > 0).any() and torch.equal(
        shares.argmax(0)[known & (instance > 0)], cluster[instance > 0]
    )
    assert (shares.argmax(0)[known] == cluster[known]).float().mean() > 0.95


def test_many_clusters_against_two_classes(network: nolabel.Pipeline, world: Path, tmp_path: Path) -> None:
    for sample in open_labels(world, space="cityscapes_19"):
        name = f"0002/{sample['name']}"
        save(tmp_path / f"train/images/{name}.jpg", to_picture(sample["image"]))
        objects = sample["instance"].numpy() * np.isin(sample["semantic"].numpy(), CITYSCAPES_19.things)
        save(tmp_path / f"train/instances/{name}.png", np.where(objects, 2000 + objects, 0).astype(np.uint16))
    result = nolabel.evaluate(network, tmp_path, recipe="cups/validate/mots", progress=False)
    assert len(result.classes) == 27 and set(result.classes) == {0, 1}
    assert result.scores.counts.shape == (27, 2) and result.scores.pq_stuff > 0.5


def test_batches_do_not_change_the_numbers(network: nolabel.Pipeline, tmp_path: Path) -> None:
    cityscapes(tmp_path, 4, [(64, 96), (64, 96), (48, 64), (64, 96)])
    first, second = (
        nolabel.evaluate(network, tmp_path, space="cityscapes_7", batch_size=size, progress=False)
        for size in (1, 3)
    )
    np.testing.assert_array_equal(first.scores.counts, second.scores.counts)
    assert list(first.image_quality) == list(second.image_quality) == open_labels(tmp_path).names
    assert first.scores.pq == pytest.approx(second.scores.pq)


def test_semantic_protocol_with_and_without_crf(network: nolabel.Pipeline, world: Path) -> None:
    plain, refined = (
        nolabel.evaluate(
            network, world, space="cityscapes_19", semantic={"center_crop": 64, "crf": crf}, progress=False
        )
        for crf in (None, {"iterations": 2})
    )
    assert plain.scores.counts.sum() <= 2 * 64 * 64
    truth = [
        nearest_square(target_of(sample), 64)[..., 0] for sample in open_labels(world, space="cityscapes_19")
    ]
    assert refined.scores.counts.sum() == sum(int((t != 255).sum()) for t in truth)  # the CRF leaves no void
    assert refined.scores.accuracy > 0.2 and "PQ     SQ" not in plain.table().split("class")[0]


@pytest.mark.parametrize(
    "size", [(1024, 2048), (368, 1240), (720, 1280), (375, 1242), (320, 320), (400, 330)]
)
def test_nearest_square_takes_the_nearest_pixels(size: tuple[int, int]) -> None:
    ids = torch.randint(0, 200, size, generator=torch.Generator().manual_seed(0))
    short = min(size)
    wanted = [320 * side // short for side in size]
    small = F.interpolate(ids[None, None].double(), size=wanted, mode="nearest")[0, 0].long()
    top, left = ((side - 320) // 2 for side in wanted)
    # The image that the CRF looks at shows the same part.
    place = torch.arange(size[1]).expand(size)
    smooth = central_square(place[None, None].float(), 320)[0, 0]
    assert (nearest_square(place, 320) - smooth).abs().max() <= size[1] / wanted[1]
    assert torch.equal(nearest_square(ids, 320), small[top : top + 320, left : left + 320])


# --- matching ------------------------------------------------------------------------------------------------------


def test_matching_modes(streets: tuple[Path, Path], network: nolabel.Pipeline) -> None:
    data, labels = streets

    def pq(**matching: object) -> float:
        config = load_config(ValidationConfig, space="cityscapes_7", matching=matching)
        return validate(labels, data, config, progress=False).scores.pq

    assert pq() == pq(one_to_one=True) == pq(split_things=False) == 1
    assert pq(mode="none") < 1
    with pytest.raises(ConfigError, match=r"matching.mode=stored: the model carries one for cityscapes_19"):
        nolabel.evaluate(network, data, space="cityscapes_7", matching={"mode": "stored"})
    stored = nolabel.evaluate(
        network, data, space="cityscapes_19", matching={"mode": "stored"}, progress=False
    )
    assert not stored.matched and len(stored.classes) == 19


def test_strict_void_rule_counts_what_the_published_one_forgives(
    streets: tuple[Path, Path], tmp_path: Path
) -> None:
    data, _ = streets
    for n, name in enumerate(open_labels(data).names):
        prediction = named_prediction(n)
        semantic = prediction.semantic.clone()
        semantic[: HEIGHT // 4] = 255  # the sky is left out
        PanopticMap(semantic, prediction.instance, CITYSCAPES_19).save(tmp_path, name)
    published, strict = (
        validate(
            tmp_path, data, ValidationConfig(space="cityscapes_19", void_rule=rule), progress=False
        ).scores
        for rule in ("torchmetrics", "panopticapi")
    )
    assert published.pq == 1 and strict.pq == pytest.approx(3 / 4)


# --- what goes wrong, what is written ------------------------------------------------------------------------------


def test_bad_files_are_counted_and_change_the_exit_code(tmp_path: Path) -> None:
    names = cityscapes(tmp_path / "data", 4)
    labels = perfect_pseudo_labels(tmp_path / "labels", names)
    images = sorted((tmp_path / "data").rglob("*_leftImg8bit.png"))
    images[0].write_bytes(images[0].read_bytes()[:200])
    (labels / f"{names[1]}_semantic.png").unlink()
    truth = sorted((tmp_path / "data").rglob("*_instanceIds.png"))[2]
    save(truth, np.zeros((HEIGHT, WIDTH), np.uint16))
    done = run(
        "--predictions", labels, "--data", tmp_path / "data", "--out", tmp_path / "out", "space=cityscapes_7"
    )
    assert done.exit_code == 1, done.output
    assert "2 images could not be scored" in done.output and "1 images have no truth" in done.output
    record = results(tmp_path / "out")
    assert [entry["name"] for entry in record["failed"]] == [names[0], names[1]]
    assert record["images"] == 2 and record["images_without_truth"] == [names[2]]
    assert record["image_pq"] == {names[2]: None, names[3]: 1.0}
    for image in images:
        image.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 4 images could be scored"):
        validate(labels, tmp_path / "data", progress=False)


def test_results_say_how_they_came_about(streets: tuple[Path, Path], tmp_path: Path) -> None:
    data, labels = streets
    done = run(
        "--predictions", labels, "--data", data, "--recipe", "cups/validate/cityscapes", "--out", tmp_path,
        "--visualize", "all", "--boxes", "void_rule=panopticapi", "batch_size=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "protocol cups/validate/cityscapes, changed: void_rule=panopticapi" in done.output
    assert "100.0  published: 27.8" in done.output
    record = results(tmp_path)
    assert record["protocol"] == "cups/validate/cityscapes" and record["published_percent"] == {"pq": 27.8}
    assert record["changed_settings"] == ["void_rule=panopticapi"]
    assert record["scores"]["pq"] == 1 and torch.__version__.startswith(record["versions"]["torch"])
    assert len(record["assignment"]["class_of_cluster"]) == 5 == len(record["counts"])
    assert [row["class"] for row in record["classes"]] == list(CITYSCAPES_19.names)
    report = (tmp_path / "report.html").read_text()
    assert report.count("data:image/") == 2 + 2 * 4 and str(data) not in report
    overlays = sorted(path.name for path in (tmp_path / "overlays").iterdir())
    assert len(overlays) == 4 and overlays[0] == "ulm_000000_000000_leftImg8bit_prediction.png"


def test_interruption_leaves_nothing(
    streets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, labels = streets
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    count = 0

    def interrupted(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptPredictions, "add", interrupted)
    done = run("--predictions", labels, "--data", data, "--out", tmp_path / "out")
    assert done.exit_code == 130 and "no results were written" in done.output
    assert not (tmp_path / "out").exists() and not list((tmp_path / "temporary").iterdir())


def test_interrupted_overlays_are_gone(
    streets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, labels = streets
    arguments = ("--predictions", labels, "--data", data, "--out", tmp_path, "--visualize", 2)
    assert run(*arguments).exit_code == 0
    before = results(tmp_path)
    written = []

    def interrupted(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("nolabel.methods.cups.validation_pictures.write_png", interrupted)
    assert run(*arguments, "void_rule=panopticapi").exit_code == 130
    assert len(written) == 3 and sorted(path.name for path in tmp_path.iterdir()) == [
        "overlays",
        "report.html",
        "results.json",
    ]
    assert results(tmp_path) == before and len(list((tmp_path / "overlays").iterdir())) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("embedded", "--predictions", "x"),
        (),
        ("embedded", "--visualize", "some"),
        ("embedded", "--visualize", "3"),
    ],
)
def test_contradicting_options_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--data", tmp_path)
    assert done.exit_code == 1 and isinstance(done.exception, ConfigError)


def test_image_quality_is_that_of_each_image_alone(network: nolabel.Pipeline, world: Path) -> None:
    config = ValidationConfig(space="cityscapes_19", matching={"mode": "stored"})
    together = validate(network.model, world, config, progress=False)
    dataset = open_labels(world, space="cityscapes_19")
    source = NetworkClusters(network.model, config, dataset.space)
    for sample in dataset:
        metric = validation.quality_metric(source, dataset.space, config)
        ids = source.predict([sample])[0].ids
        metric.update(torch.stack([source.classes[ids[..., 0]], ids[..., 1]], -1), target_of(sample))
        assert together.image_quality[sample["name"]] == pytest.approx(metric.compute().pq)


def test_kept_maps_come_back(tmp_path: Path) -> None:
    ids = torch.randint(0, 70_000, (5, 7, 2))
    with KeptPredictions() as kept:
        kept.add("a/b", ids)
        folder = Path(kept._folder.name)
        assert torch.equal(kept.get("a/b"), ids) and folder.is_dir()
    assert not folder.exists()
