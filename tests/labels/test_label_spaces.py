"""Label spaces: counts, colours, thing/stuff splits and the pseudo space."""

import pickle

import numpy as np
import pytest

from nolabel.errors import ConfigError
from nolabel.labels import CITYSCAPES_19, CITYSCAPES_27, LABEL_SPACES, LabelClass, LabelSpace, pseudo_space
from nolabel.labels.space import distinct_colours


@pytest.mark.parametrize("name", LABEL_SPACES)
def test_space_is_consistent(name: str) -> None:
    space = LABEL_SPACES[name]
    assert space.name == name and name.endswith(f"_{space.num_classes}")
    assert len(set(space.names)) == space.num_classes
    assert sorted(space.things + space.stuff) == list(range(space.num_classes))
    assert all(space.index(class_name) == i for i, class_name in enumerate(space.names))
    assert (space.palette[space.num_classes :] == 0).all()


def test_things_of_cityscapes() -> None:
    assert CITYSCAPES_19.things == tuple(range(11, 19))
    assert CITYSCAPES_27.things == tuple(range(17, 27))


def test_unknown_class_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'motorcycle'"):
        CITYSCAPES_19.index("motorcycles")


def test_a_space_without_classes_or_with_too_many_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 classes"):
        LabelSpace("none", ())
    with pytest.raises(ConfigError, match="256 classes"):
        LabelSpace("many", tuple(LabelClass(str(i), (0, 0, 0), False) for i in range(256)))


def test_pseudo_space_colours_are_distinct_and_do_not_depend_on_the_split() -> None:
    space = pseudo_space(100, things=(3, 99))
    assert space.things == (3, 99) and space.names[42] == "cluster_42"
    assert len(np.unique(space.palette[:100], axis=0)) == 100
    assert (space.palette[:27] == pseudo_space(27, things=()).palette[:27]).all()
    with pytest.raises(ConfigError, match=r"\[27\]"):
        pseudo_space(27, things=(26, 27))


def test_distinct_colours_stay_away_from_each_other_and_from_void() -> None:
    colours = distinct_colours(40).astype(float)
    gaps = np.linalg.norm(colours[:, None] - colours, axis=-1) + 1e9 * np.eye(40)
    assert gaps.min() > 50
    assert np.linalg.norm(colours, axis=1).min() > 80


def test_a_space_survives_pickling_and_its_palette_cannot_be_changed() -> None:
    _ = CITYSCAPES_19.palette
    assert pickle.loads(pickle.dumps(CITYSCAPES_19)) == CITYSCAPES_19
    with pytest.raises(ValueError, match="read-only"):
        CITYSCAPES_19.palette[0] = 1
