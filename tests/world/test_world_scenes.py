"""What the scenes hold and that they repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nolabel.errors import ConfigError
from nolabel.geometry import VoxelGrid
from nolabel.labels import CITYSCAPES_19
from nolabel.world import STYLES, Renderer, Rig, frame_points, generate_scene, render, voxel_labels

SMALL = Rig((96, 192))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    for style in STYLES:
        first, again = (render(generate_scene(4), 0.3, style, SMALL.size, "right") for _ in range(2))
        for name in ("image", "depth", "semantic", "instance", "part"):
            assert torch.equal(getattr(first, name), getattr(again, name)), name
    other = render(generate_scene(5), 0.3, "synthetic", SMALL.size, "right")
    assert not torch.equal(first.image, other.image)


def test_the_number_of_threads_does_not_change_the_picture() -> None:
    threads = torch.get_num_threads()
    images = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            images.append(render(generate_scene(6), 0.0, "real", SMALL.size).image)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*images)


def test_all_classes_appear_over_a_set_of_seeds() -> None:
    pixels = np.zeros(19, dtype=np.int64)
    for seed in range(14):
        frame = Renderer(generate_scene(seed), "synthetic", SMALL).frame(0.0)
        pixels += np.bincount(frame.semantic.flatten().numpy(), minlength=19)
    missing = [CITYSCAPES_19.names[index] for index in np.flatnonzero(pixels == 0)]
    assert not missing


def test_things_move_visibly_in_most_scenes() -> None:
    """At least one independently moving instance of some size between 5 and 40 m in most scenes."""
    good = 0
    for seed in range(10):
        scene = generate_scene(seed)
        frame = Renderer(scene, "synthetic", SMALL).frame(0.0)
        speed = torch.tensor([actor.speed for actor in scene.actors])
        moving = (frame.actor > 0) & (speed[frame.actor.clamp(min=0)] > 0.8)
        near = moving & (frame.depth > 5) & (frame.depth < 40)
        sizes = [int((frame.instance[near] == i).sum()) for i in frame.instance[near].unique().tolist() if i]
        good += sum(size >= 60 for size in sizes) >= 2
    assert good >= 7


def test_styles_share_the_truth_and_differ_in_looks() -> None:
    scene = generate_scene(2)
    real, synthetic = (Renderer(scene, style, SMALL).frame(0.0) for style in ("real", "synthetic"))
    for name in ("depth", "semantic", "instance"):
        assert torch.equal(getattr(real, name), getattr(synthetic, name))
    assert (real.image - synthetic.image).abs().mean() > 0.05
    saturation = [float((f.image.amax(0) - f.image.amin(0)).mean()) for f in (real, synthetic)]
    assert saturation[1] > 1.3 * saturation[0]


def test_unknown_style_and_impossible_cameras_are_refused() -> None:
    with pytest.raises(ConfigError, match="sythetic"):
        render(generate_scene(0), 0.0, "sythetic")
    with pytest.raises(ConfigError, match="camera"):
        Rig(baseline=0.0)


def test_voxels_hold_the_class_of_the_pixels_that_fall_into_them() -> None:
    scene = generate_scene(7)
    frame = Renderer(scene, "synthetic", Rig((128, 256))).frame(0.2)
    grid = VoxelGrid(
        (-12.8, -5.0, 0.0), 0.4, (64, 20, 96)
    )  # in the camera's frame: x right, y down, z forward
    labels = voxel_labels(scene, 0.2, grid, frame.camera_to_world)
    assert labels.shape == grid.shape and labels.dtype == torch.uint8
    pose = frame.camera_to_world
    points = (frame_points(frame) - pose[:3, 3]) @ pose[:3, :3]
    index, inside = grid.index_of(points)
    inside &= frame.depth > 0
    found = labels[tuple(index[inside].T)]
    assert (found != 255).float().mean() > 0.995
    assert (found == frame.semantic[inside]).float().mean() > 0.85
    free = (labels == 255).float().mean()
    assert 0.3 < free < 0.95
