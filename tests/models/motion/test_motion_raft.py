from collections.abc import Callable

import pytest
import torch
from torchvision.models.optical_flow import RAFT, raft_small

from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.models.motion import RaftMotion, build_motion
from nolabel.models.motion.correlation import CorrelationPyramid
from nolabel.models.motion.raft import small_network, smurf_network
from nolabel.models.motion.recurrence import fixed_context_units
from nolabel.weights.layouts import raft_small as small_layout
from nolabel.weights.layouts import raft_smurf as smurf_layout


@pytest.fixture(scope="module")
def estimator() -> RaftMotion:
    torch.manual_seed(0)
    return RaftMotion(small_network(), updates=2)


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_equals_torchvision_without_padding(estimator: RaftMotion) -> None:
    first, second = random_images(2, 1, 3, 128, 136)
    expected = estimator.network(2 * first - 1, 2 * second - 1, num_flow_updates=2)[-1]
    torch.testing.assert_close(estimator.flow(first, second), expected, rtol=1e-4, atol=1e-4)


def test_stereo_video_equals_the_single_passes(estimator: RaftMotion) -> None:
    images = random_images(4, 2, 3, 100, 130)
    left_0, right_0, left_1, right_1 = images
    together = estimator.stereo_video(left_0, right_0, left_1, right_1)
    close = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(together.flow_forward, estimator.flow(left_0, left_1), **close)
    torch.testing.assert_close(together.flow_backward, estimator.flow(left_1, left_0), **close)
    torch.testing.assert_close(together.disparity_0, estimator.disparity(left_0, right_0), **close)
    right = estimator.disparity(left_1, right_1, reference="right")
    torch.testing.assert_close(together.disparity_right_1, right, **close)
    assert together.size == (100, 130)


def test_chunks_by_memory_do_not_change_the_result(estimator: RaftMotion) -> None:
    images = random_images(4, 1, 3, 128, 128)
    tight = RaftMotion(estimator.network, updates=2, memory_limit=1)
    a, b = estimator.stereo_video(*images), tight.stereo_video(*images)
    torch.testing.assert_close(a.disparity_1, b.disparity_1, rtol=1e-3, atol=1e-3)


def test_correlation_equals_torchvision(estimator: RaftMotion) -> None:
    first, second = random_images(2, 2, 32, 16, 17)
    position = 20 * random_images(2, 2, 16, 17) - 2
    block = estimator.network.corr_block
    block.build_pyramid(first, second)
    expected = block.index_pyramid(position)
    pyramid = CorrelationPyramid(first, second, block.num_levels, block.radius)
    torch.testing.assert_close(pyramid.windows(position), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [small_network, smurf_network])
def test_recurrence_with_a_fixed_context_equals_torchvision(make: Callable[[], RAFT]) -> None:
    torch.manual_seed(0)
    block = make().update_block.recurrent_block
    size = block.hidden_size
    inputs = block.convgru1.convz.in_channels - size
    context, hidden = random_images(1, inputs - 40, 6, 7), random_images(1, size, 6, 7)
    units = fixed_context_units(block, context)
    expected = ours = hidden
    for step in range(2):
        motion = random_images(1, 40, 6, 7) + step
        expected = block(expected, torch.cat([context, motion], dim=1))
        for unit in units:
            ours = unit(ours, motion)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_images_must_agree(estimator: RaftMotion) -> None:
    with pytest.raises(DataError):
        estimator.flow(random_images(1, 3, 128, 128), random_images(1, 3, 128, 136))


def test_princeton_names_map_onto_the_network() -> None:
    network = raft_small(weights=None).state_dict()
    reverse = {new: old for old, new in small_layout.RENAMED_PIECES}

    def official(name: str) -> str:
        if ".layer" in name:
            for old, new in small_layout.BLOCK_CONVOLUTIONS:
                name = name.replace(new, old)
        for new in sorted(reverse, key=len, reverse=True):
            if name.startswith(new):
                return "module." + reverse[new] + name[len(new) :]
        return "module." + name

    mapped = small_layout.to_network({official(name): value for name, value in network.items()})
    assert set(mapped) == set(network)


def test_smurf_layout_round_trip() -> None:
    state = smurf_network().state_dict()
    official = smurf_layout.from_network(state)
    assert all(name.startswith("raft.") for name in official)
    assert not any("running_mean" in name for name in official)
    restored = smurf_layout.to_network(official)
    assert all(torch.equal(state[name], restored[name]) for name in state)
    weight = smurf_layout.CORRELATION_WEIGHT
    assert not torch.equal(official["raft." + weight], state[weight])


def test_build_motion_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="unknown motion"):
        build_motion("raft_huge")
    with pytest.raises(WeightsError, match="needs weights"):
        build_motion("raft_small")
    with pytest.raises(WeightsError, match="do not fit"):
        build_motion("raft_small", {"a": torch.zeros(1)})
    assert isinstance(build_motion("raft_smurf", smurf_network().state_dict()), RaftMotion)
