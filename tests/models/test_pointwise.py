import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nolabel.models.pointwise import conv1x1, linear, use_fast_products


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(300, 24), (2, 150, 24), (3, 24), (0, 24)])
def test_linear_equals_torch(shape: tuple[int, ...]) -> None:
    x, weight, bias = random(*shape), random(40, 24), random(40)
    with torch.inference_mode():
        result = linear(x, weight, bias)
        torch.testing.assert_close(result, F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)
    assert result.is_contiguous()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_conv1x1_equals_torch(stride: int, layout: torch.memory_format) -> None:
    x, weight, bias = random(2, 24, 17, 20).contiguous(memory_format=layout), random(40, 24, 1, 1), random(40)
    with torch.inference_mode():
        expected = F.conv2d(x, weight, bias, stride)
        torch.testing.assert_close(conv1x1(x, weight, bias, stride), expected, rtol=1e-5, atol=1e-5)


def test_networks_of_other_libraries_keep_names_results_and_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1, stride=2), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(2), nn.Linear(30 * 30, 5)
    )
    x = random(40, 3, 60, 60)
    expected, names = network(x), list(network.state_dict())
    expected.sum().backward()
    gradient = network[0].weight.grad
    network.zero_grad()
    use_fast_products(network)
    assert [type(layer).__name__ for layer in network] == ["Conv1x1", "Conv2d", "Flatten", "Linear"]
    assert list(network.state_dict()) == names
    network(x).sum().backward()
    torch.testing.assert_close(network[0].weight.grad, gradient)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
