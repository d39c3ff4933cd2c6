"""What domain adaptation opens: mapped own labels, joined sources, targets, and remembered statistics."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from nolabel.data import (
    ClassStatistics,
    JoinedLabelled,
    LabelledEntry,
    UnlabelledEntry,
    class_statistics,
    doctor,
    find_labelled,
    open_domain,
    open_labels,
    open_unlabelled,
    read_mapping,
)
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CAMVID_11, CITYSCAPES_19, raw_table, space_map

from .conftest import save

IDS = np.array([[1, 2, 0], [9, 2, 2]], np.uint8)
COLOURS = np.array([[[1, 2, 3], [9, 9, 9], [0, 0, 0]], [[1, 2, 3]] * 3], np.uint8)


def own(root: Path, labels: np.ndarray, mapping: str, name: str = "classes.yaml") -> Path:
    save(root / "images" / "a.png", np.zeros((*labels.shape[:2], 3), np.uint8))
    save(root / "labels" / "a.png", labels)
    (root / name).write_text(mapping)
    return root


def test_a_mapping_of_ids_names_the_classes(tmp_path):
    root = own(tmp_path, IDS, "space: cityscapes_19\nlabels: {1: road, 2: car, 0: void}")
    dataset = pickle.loads(pickle.dumps(open_labels(root)))
    assert dataset.space == CITYSCAPES_19
    assert dataset[0]["semantic"].tolist() == [[0, 13, 255], [255, 13, 13]]
    assert open_labels(root, space="camvid_11").read_labels(0).tolist() == [[3, 8, 255], [255, 8, 8]]
    assert unknown_ids(root).startswith("9 ")


def unknown_ids(root: Path) -> str:
    (finding,) = (f for f in doctor(root).findings if f.kind == "unknown label ids")
    assert finding.count == 1
    return finding.examples[0]


@pytest.mark.parametrize("palette", [False, True])
def test_a_mapping_of_colours_with_own_classes(tmp_path, palette):
    mapping = {
        "labels": {"1,2,3": "grass", "#090909": "cow"},
        "classes": ["cow", {"name": "grass", "colour": [0, 9, 0]}],
    }
    root = own(tmp_path, COLOURS, json.dumps(mapping), "classes.json")
    if palette:
        from PIL import Image

        Image.fromarray(COLOURS).quantize(8).save(root / "labels" / "a.png")
    dataset = open_labels(root)
    assert dataset.space.names == ("cow", "grass") and dataset.space.classes[1].colour == (0, 9, 0)
    assert dataset[0]["semantic"].tolist() == [[1, 0, 255], [1, 1, 1]]
    assert unknown_ids(root).startswith("0,0,0 ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("labels: {1: roda}\nspace: cityscapes_19", "no class 'roda'"),
        ("labels: {1: road, '1,2,3': car}", "mixes"),
        ("labels: {1: road, '01': car}", "twice"),
        ("labels: {x: road}", "neither an id nor a colour"),
        ("labels: {'1,2,300': road}", "neither an id nor a colour"),
        ("labels: {1: road}\nspace: nowhere", "no label space"),
        ("space: cityscapes_19", "no `labels`"),
        ("labels: {1: road}\nlables: {}", "unknown entry"),
        ("labels: [", "cannot read"),
    ],
)
def test_faulty_mappings_are_named(tmp_path, content, message):
    (tmp_path / "m.yaml").write_text(content)
    with pytest.raises(DataError, match=message):
        read_mapping(tmp_path / "m.yaml")


def gta5(root: Path, *numbers: int) -> Path:
    for number in numbers:
        save(root / "images" / f"{number:05d}.png", np.zeros((2, 3, 3), np.uint8))
        save(root / "labels" / f"{number:05d}.png", np.full((2, 3), number, np.uint8))
    return root


def test_entries_open_both_sides_and_join_sources(tmp_path):
    first, second = gta5(tmp_path / "a", 7, 26), gta5(tmp_path / "b", 26)
    entries = [LabelledEntry(data=path, dataset="gta5") for path in (first, second)]
    joined = open_domain(entries, "camvid_11")
    assert isinstance(joined, JoinedLabelled) and len(joined) == 3 and joined.space == CAMVID_11
    assert joined.names == ["0_00007", "0_00026", "1_00026"] == [joined[i]["name"] for i in range(3)]
    assert [int(joined[i]["semantic"][0, 0]) for i in range(3)] == [3, 8, 8]
    with pytest.raises(IndexError):
        joined[3]
    assert UnlabelledEntry(data=first, dataset="gta5").open().names == ["00007", "00026"]
    with pytest.raises(DataError, match="no labelled images"):
        LabelledEntry(data=tmp_path).open()


def test_lists_are_entries(tmp_path):
    gta5(tmp_path, 1, 18)
    for kind in ("images", "labels"):
        (tmp_path / f"{kind}.txt").write_text(f"{kind}/00001.png\n{kind}/00018.png\n")
    entry = LabelledEntry(data=tmp_path / "images.txt", labels=tmp_path / "labels.txt")
    assert [int(sample["semantic"][0, 0]) for sample in entry.open()] == [1, 18]
    assert len(UnlabelledEntry(data=tmp_path / "images.txt").open()) == 2
    with pytest.raises(ConfigError, match="says nothing about lists"):
        entry.model_copy(update={"dataset": "gta5"}).open()
    with pytest.raises(DataError, match="no list"):
        LabelledEntry(data=tmp_path / "images.txt").open()


@pytest.mark.parametrize(
    ("picture", "other"),
    [
        ("RGB/1.png", "GT/LABELS/1.png"),
        ("img/rgb/1.png", "img/class/1.png"),
        ("training/images/1.jpg", "validation/images/2.jpg"),
        ("images/10k/train/1.jpg", "images/10k/val/2.jpg"),
        ("seg/images/train/1.jpg", "seg/labels/train/1_train_id.png"),
        ("rgb_anon/fog/train/GP/1_rgb_anon.png", "rgb_anon/fog/train_ref/GP/2_rgb_anon.png"),
        ("rgb_anon/train/fog/GP/1_rgb_anon.png", "rgb_anon/val/fog/GP/2_rgb_anon.png"),
        ("images/train/0001TP/1.png", "images/val/0016E5/2.png"),
        ("train/1.png", "trainannot/1.png"),
        ("images/train/1.png", "images/val/2.png"),
    ],
)
def test_targets_are_the_training_part(tmp_path, picture, other):
    for name in (picture, other):
        save(tmp_path / name, np.zeros((2, 3, 3), np.uint8))
    assert [path.relative_to(tmp_path).as_posix() for path in open_unlabelled(tmp_path).paths] == [picture]


def test_dark_zurich_gives_its_nights_and_says_where_it_is_from(tmp_path):
    save(tmp_path / "rgb_anon/train/twilight/GP/1_rgb_anon.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(DataError, match="night") as caught:
        open_unlabelled(tmp_path)
    assert "trace.ethz.ch" in str(caught.value.hint)
    save(tmp_path / "rgb_anon/train/night/GP/2_rgb_anon.png", np.zeros((2, 3, 3), np.uint8))
    assert [path.stem for path in open_unlabelled(tmp_path).paths] == ["2_rgb_anon"]
    with pytest.raises(ConfigError, match="no layout"):
        open_unlabelled(tmp_path, "darkzurich")


def test_camvid_with_sequences_is_recognised(tmp_path):
    save(tmp_path / "images/train/0016E5/a.png", np.zeros((2, 3, 3), np.uint8))
    save(tmp_path / "labels/train/0016E5/a.png", np.full((2, 3), 11, np.uint8))
    assert find_labelled(tmp_path) == "camvid"
    assert LabelledEntry(data=tmp_path).open().space == CAMVID_11
    assert doctor(tmp_path).facts["split"] == "train"


def test_statistics_are_remembered_until_a_file_changes(tmp_path):
    dataset = open_domain([LabelledEntry(data=gta5(tmp_path / "a", 7, 26), dataset="gta5")])
    cache, counted = tmp_path / "cache", []
    first = class_statistics(dataset, cache=cache, advance=counted.append)
    assert first.pixels[:, [0, 13]].tolist() == [[6, 0], [0, 6]] and counted == [1, 1]
    again = class_statistics(dataset, cache=cache, advance=counted.append)
    assert torch.equal(again.pixels, first.pixels) and again.names == first.names and counted[2:] == [2]
    assert len(list(cache.iterdir())) == 1
    label = dataset.records[0].label
    save(label, np.full((2, 3), 8, np.uint8))
    os.utime(label, ns=(1, 1))
    assert class_statistics(dataset, cache=cache).pixels[0, :2].tolist() == [0, 6]
    camvid = open_domain([LabelledEntry(data=tmp_path / "a", dataset="gta5")], "camvid_11")
    assert class_statistics(camvid, cache=cache).pixels.shape == (2, 11)


def test_statistics_of_the_reference_find_our_images(tmp_path):
    names = ["00002", "00001"]
    counted = ClassStatistics(
        ("x/00001_labelTrainIds.png", "x/00002_labelTrainIds.png"), torch.tensor([[5, 0], [7, 3]])
    )
    counted.write(tmp_path, indexed=True)
    by_class = json.loads((tmp_path / "samples_with_class.json").read_text())
    assert by_class["1"] == [[1, "x/00002_labelTrainIds.png", 3]]
    ours = ClassStatistics.read(tmp_path, 2).for_images(names)
    assert ours.names == ("00002", "00001") and ours.pixels.tolist() == [[7, 3], [5, 0]]
    with pytest.raises(DataError, match="00003 is not in them"):
        counted.for_images(["00003"])


def test_camvid_is_a_space_to_train_for():
    table = raw_table("gta5", "camvid_11")
    named = {raw: CAMVID_11.names[table[raw]] for raw in (7, 12, 22, 19, 27, 33, 25)}
    assert list(named.values()) == [
        "road",
        "building",
        "tree",
        "sign/symbol",
        "car",
        "bicyclist",
        "bicyclist",
    ]
    assert table[0] == 255
    there_and_back = space_map(CITYSCAPES_19, CAMVID_11)[space_map(CAMVID_11, CITYSCAPES_19)[:11]]
    assert there_and_back.tolist() == list(range(11))


def test_the_doctor_opens_official_sets_of_semantic_labels(tmp_path):
    root = gta5(tmp_path / "gta", 7, 26)
    report = doctor(root, dataset="gta5", space="camvid_11")
    assert report.layout == "gta5" and report.facts["labelled images"] == 2
    save(tmp_path / "m/validation/images/1.jpg", np.zeros((2, 3, 3), np.uint8))
    save(tmp_path / "m/training/images/1.jpg", np.zeros((2, 3, 3), np.uint8))
    report = doctor(tmp_path / "m")
    assert report.layout == "mapillary" and not report.ok
    assert any("mapillary.com" in finding.remedy for finding in report.findings)
