"""Reasoning about the objects of a scene with fields of single objects (unMORE, section 3.3 of the paper)."""
