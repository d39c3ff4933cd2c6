"""QuadMix (UDASS, TPAMI 2025): unified domain-adaptive semantic segmentation of images and of videos.

An image is a clip of one frame, a video sample one of two frames and the flow between them; mixing, pseudo labels and
their bank are the same for both.
"""
