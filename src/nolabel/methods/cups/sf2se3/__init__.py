"""SF2SE3: rigid motions and their pixels from stereo scene flow, with CUPS' changes.

Sommer et al., "SF2SE3: Clustering Scene Flow into SE(3)-Motions via Proposal and Selection", GCPR 2022; Hahn et
al., "Scene-Centric Unsupervised Panoptic Segmentation", CVPR 2025. One module for each step of a run:
``scene_flow`` -> ``clusters`` -> ``consensus`` -> ``spatial`` -> ``selection`` -> ``refinement`` -> ``run``.
"""
