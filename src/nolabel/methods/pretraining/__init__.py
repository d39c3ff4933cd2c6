"""Weights from nothing: features by self-distillation, motion by photometric error. Each part has modules of its own."""
