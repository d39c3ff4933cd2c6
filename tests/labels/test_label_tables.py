"""Raw-id tables and maps between spaces against facts of the data sets."""

import numpy as np
import pytest

from nolabel.errors import ConfigError
from nolabel.labels import (
    CAMVID_11,
    CITYSCAPES_7,
    CITYSCAPES_19,
    CITYSCAPES_27,
    LABEL_SPACES,
    RAW_TABLES,
    SYNTHIA_SEQ_12,
    VIPER_15,
    cityscapes_label_ids,
    raw_table,
    space_map,
)

VOID = 255


@pytest.mark.parametrize("key", RAW_TABLES)
def test_every_table_stays_inside_its_space(key: tuple[str, str]) -> None:
    table = RAW_TABLES[key]
    assert table.dtype == np.uint8 and len(table) >= 256
    labels = np.unique(table[table != VOID])
    assert len(labels) and labels.max() < LABEL_SPACES[key[1]].num_classes


@pytest.mark.parametrize(
    ("dataset", "space", "raw", "label"),
    [
        ("cityscapes", "cityscapes_19", 26, 13),
        ("cityscapes", "cityscapes_19", -1, VOID),
        ("cityscapes", "cityscapes_27", 33, 26),
        ("cityscapes", "viper_15", 25, 9),
        ("cityscapes", "synthia_seq_12", 25, 10),
        ("cityscapes", "synthia_16", 33, 15),
        ("gta5", "cityscapes_19", 34, VOID),
        ("synthia", "cityscapes_19", 21, 3),
        ("viper", "viper_15", 7, 6),
        ("viper", "viper_15", 22, 14),
        ("synthia_seq", "synthia_seq_12", 11, 10),
        ("bdd_panoptic", "cityscapes_19", 33, 18),
        ("mapillary", "cityscapes_19", 41, 0),
        ("mapillary", "cityscapes_19", 8, VOID),
        ("kitti_360", "cityscapes_19", 37, 5),
        ("waymo", "cityscapes_7", 8, 6),
        ("waymo", "cityscapes_19", 8, VOID),
        ("sscbench_raw", "sscbench_19", 258, 4),
        ("sscbench", "ssc_16", 10, 12),
        ("mots", "binary_2", 2, 1),
        ("kitti_instance", "binary_2", 26, 1),
        ("camvid", "cityscapes_19", 10, 12),
    ],
)
def test_raw_ids(dataset: str, space: str, raw: int, label: int) -> None:
    assert raw_table(dataset, space)[raw] == label


def test_the_two_rules_for_seven_classes() -> None:
    parking, road = 9, 7
    assert raw_table("cityscapes", CITYSCAPES_7)[parking] == CITYSCAPES_7.index("flat")
    assert raw_table("cityscapes", CITYSCAPES_7, members="evaluated")[[parking, road]].tolist() == [VOID, 0]
    assert raw_table("bdd_panoptic", CITYSCAPES_7)[5] == VOID
    assert raw_table("bdd_panoptic", CITYSCAPES_7, members="all")[5] == CITYSCAPES_7.index("flat")


def test_19_to_27_and_back() -> None:
    forward = space_map(CITYSCAPES_19, CITYSCAPES_27)
    listed = [0, 1, 4, 5, 6, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25, 26]
    assert forward[:19].tolist() == listed and forward[VOID] == VOID
    assert space_map(CITYSCAPES_27, CITYSCAPES_19)[forward[:19]].tolist() == list(range(19))


@pytest.mark.parametrize("name", ["synthia_16", "synthia_13", "viper_15", "synthia_seq_12", "cityscapes_7"])
def test_maps_commute_with_raw_tables(name: str) -> None:
    through_19 = space_map(CITYSCAPES_19, name)[raw_table("cityscapes", CITYSCAPES_19)]
    members = "evaluated" if name == "cityscapes_7" else None
    assert (through_19 == raw_table("cityscapes", name, members=members)).all()


def test_a_merged_class_has_no_way_back() -> None:
    back = space_map(VIPER_15, CITYSCAPES_19)
    assert back[VIPER_15.index("person")] == VOID and back[VIPER_15.index("bicycle")] == 18
    assert (
        space_map(CITYSCAPES_7, CITYSCAPES_19)[: CITYSCAPES_7.num_classes].tolist()
        == [VOID] * 4 + [CITYSCAPES_19.index("sky")] + [VOID] * 2
    )


def test_other_maps() -> None:
    assert space_map(CAMVID_11, CITYSCAPES_19)[:12].tolist() == [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 12, VOID]
    assert space_map(CITYSCAPES_19, "ssc_16")[10] == 0
    assert space_map(SYNTHIA_SEQ_12, SYNTHIA_SEQ_12)[:13].tolist() == [*range(12), VOID]


def test_label_ids_are_what_the_raw_table_reads() -> None:
    for space in (CITYSCAPES_19, CITYSCAPES_27, CITYSCAPES_7, VIPER_15):
        ids = cityscapes_label_ids(space)
        labels = np.arange(space.num_classes)
        assert (raw_table("cityscapes", space)[ids[labels]] == labels).all()
        assert ids[VOID] == 0


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cityscapes'"):
        raw_table("cityscape", CITYSCAPES_19)
    with pytest.raises(ConfigError, match="camvid maps to"):
        raw_table("camvid", "sscbench_19")
    with pytest.raises(ConfigError, match="did you mean 'viper_15'"):
        space_map("viper_16", CITYSCAPES_19)
    with pytest.raises(ConfigError, match="no map"):
        space_map("binary_2", CITYSCAPES_19)
    with pytest.raises(ConfigError, match="no Cityscapes ids"):
        cityscapes_label_ids(CAMVID_11)
