"""SceneDINO: a field of density, features and classes from one image."""

from nolabel.models.scenedino.config import HeadConfig, SceneDinoConfig, scenedino_config
from nolabel.models.scenedino.field import FoldedField, SceneField
from nolabel.models.scenedino.network import SceneDino
from nolabel.models.scenedino.reduction import SalienceDownsampler, build_expansion, cells_of, shrink
from nolabel.models.scenedino.semantic_head import ClusterHead, CodeHead, PredictionMode, SemanticHead

__all__ = [
    "ClusterHead",
    "CodeHead",
    "FoldedField",
    "HeadConfig",
    "PredictionMode",
    "SalienceDownsampler",
    "SceneDino",
    "SceneDinoConfig",
    "SceneField",
    "SemanticHead",
    "build_expansion",
    "cells_of",
    "scenedino_config",
    "shrink",
]
