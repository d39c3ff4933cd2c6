import pytest
import torch

from nolabel.engine.progress import Progress, duration
from nolabel.engine.seeding import generator_of, random_state, seed_everything, seed_of, set_random_state


def test_plain_lines_go_to_standard_error(capsys):
    with Progress("labelling", 4, every=0.0, start=1) as bar:
        bar.advance(note="1 failed")
        bar.advance(2)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert (
        lines[0].startswith("labelling 2/4 items, ") and "left" in lines[0] and lines[0].endswith("1 failed")
    )
    assert "4/4" in lines[-1] and "took" in lines[-1]


def test_silent_when_disabled(capsys):
    with Progress("labelling", 1, enabled=False, every=0.0) as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (600, "10 min"), (11_100, "3 h 05 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_seeds_depend_on_every_part():
    seeds = {
        seed_of(1, "a"),
        seed_of(1, "b"),
        seed_of(2, "a"),
        seed_of("1", "a"),
        seed_of(1, "a", ""),
        seed_of(1),
    }
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(
        torch.rand(3, generator=generator_of(1, "a")), torch.rand(3, generator=generator_of(1, "a"))
    )


def test_random_state_goes_back_through_a_safe_file(tmp_path):
    import random

    import numpy as np

    def draw():
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(2).tolist()  # noqa: NPY002

    seed_everything(5)
    draw()
    torch.save(random_state(), tmp_path / "s.pt")
    first = draw()
    set_random_state(torch.load(tmp_path / "s.pt", weights_only=True))
    assert draw() == first
