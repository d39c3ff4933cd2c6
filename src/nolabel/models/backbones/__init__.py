"""Image backbones: maps from pixels to pyramids of features."""

from nolabel.models.backbones.convolution import ConvNorm, freeze_batch_norm
from nolabel.models.backbones.feature_pyramid import FeaturePyramid
from nolabel.models.backbones.mix_transformer import MIX_TRANSFORMERS, MixTransformer, MixTransformerConfig
from nolabel.models.backbones.resnet import ResNet, ResNetConfig

__all__ = [
    "MIX_TRANSFORMERS",
    "ConvNorm",
    "FeaturePyramid",
    "MixTransformer",
    "MixTransformerConfig",
    "ResNet",
    "ResNetConfig",
    "freeze_batch_norm",
]
