"""DepthG (Sick et al., CVPR 2024): semantics learnt for the footage at hand from features and depth, without labels."""
