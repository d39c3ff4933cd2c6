"""SceneDINO: 3D scenes with features and classes from one image, learnt from posed video without labels."""
