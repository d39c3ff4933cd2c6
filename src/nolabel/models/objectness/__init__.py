"""Networks that see whether a crop holds an object, and its boundary and centre (unMORE)."""

from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessMaps, ObjectnessNetwork

__all__ = ["ExistenceNetwork", "ObjectnessMaps", "ObjectnessNetwork"]
