"""Animations: what is written is what other programs read."""

import numpy as np
import pytest
from PIL import Image

from nolabel.errors import ConfigError
from nolabel.viz import write_animation

FRAMES = [np.full((20, 30, 3), value, dtype=np.uint8) for value in (10, 120, 240)]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_frames_and_times(tmp_path, suffix):
    path = write_animation(tmp_path / f"a{suffix}", FRAMES, [0.1, 0.2, 0.3])
    with Image.open(path) as animation:
        assert animation.n_frames == 3 and animation.size == (30, 20)
        for number, frame in enumerate(FRAMES):
            animation.seek(number)
            animation.load()
            assert abs(np.asarray(animation.convert("RGB")).mean() - frame.mean()) < 3
            assert animation.info["duration"] == pytest.approx([100, 200, 300][number], abs=1)
    assert list(tmp_path.iterdir()) == [path]


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no animation"):
        write_animation(tmp_path / "a.jpg", FRAMES)
