"""Label spaces and the tables between raw ids and labels. 255 is void everywhere."""

from nolabel.labels.cityscapes import (
    CITYSCAPES_7,
    CITYSCAPES_19,
    CITYSCAPES_27,
    SYNTHIA_13,
    SYNTHIA_16,
    SYNTHIA_SEQ_12,
    VIPER_15,
)
from nolabel.labels.space import VOID, LabelClass, LabelSpace, distinct_colours, pseudo_space
from nolabel.labels.spaces import BINARY_2, CAMVID_11, LABEL_SPACES, SSC_16, SSCBENCH_19
from nolabel.labels.tables import RAW_TABLES, cityscapes_label_ids, raw_table, space_map

__all__ = [
    "BINARY_2",
    "CAMVID_11",
    "CITYSCAPES_7",
    "CITYSCAPES_19",
    "CITYSCAPES_27",
    "LABEL_SPACES",
    "RAW_TABLES",
    "SSCBENCH_19",
    "SSC_16",
    "SYNTHIA_13",
    "SYNTHIA_16",
    "SYNTHIA_SEQ_12",
    "VIPER_15",
    "VOID",
    "LabelClass",
    "LabelSpace",
    "cityscapes_label_ids",
    "distinct_colours",
    "pseudo_space",
    "raw_table",
    "space_map",
]
