"""Networks that see whether a crop holds an object, and its boundary and centre (unMORE)."""

from nolabel.models.dpt import enlarge_twice
from nolabel.models.objectness.boundary_head import BoundaryForm, BoundaryHead
from nolabel.models.objectness.build import build_existence, build_objectness
from nolabel.models.objectness.contract import (
    ExistenceModule,
    ExistenceNetwork,
    ObjectnessMaps,
    ObjectnessModule,
    ObjectnessNetwork,
)
from nolabel.models.objectness.existence import ResNetExistence, SmallExistence, TinyExistence
from nolabel.models.objectness.initial import InputStatistics, adapt_transformer
from nolabel.models.objectness.network import DPT_SIZES, DptConfig, DptObjectness
from nolabel.models.objectness.small import SmallObjectness

__all__ = [
    "DPT_SIZES",
    "BoundaryForm",
    "BoundaryHead",
    "DptConfig",
    "DptObjectness",
    "ExistenceModule",
    "ExistenceNetwork",
    "InputStatistics",
    "ObjectnessMaps",
    "ObjectnessModule",
    "ObjectnessNetwork",
    "ResNetExistence",
    "SmallExistence",
    "SmallObjectness",
    "TinyExistence",
    "adapt_transformer",
    "build_existence",
    "build_objectness",
    "enlarge_twice",
]
