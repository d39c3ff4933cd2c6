"""CUPS: from raw stereo video to a panoptic network (CVPR 2025)."""
