"""SMURF's TensorFlow variables become the official torch file, and the same flow comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nolabel.cli import app
from nolabel.errors import WeightsError
from nolabel.models.motion.raft import RaftMotion, smurf_network
from nolabel.weights import convert, load_checkpoint
from nolabel.weights.layouts import raft_smurf, smurf_tensorflow


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return smurf_network()


def variables_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    official = raft_smurf.from_network(network.state_dict())
    return {name: value.numpy() for name, value in smurf_tensorflow.from_official(official).items()}


def as_checkpoint(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names as an object graph gives them, with what else such a file holds."""
    named = {f"flow_model/{name}/.ATTRIBUTES/VARIABLE_VALUE": value for name, value in variables.items()}
    slots = {
        f"flow_model/{name}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": value + 1
        for name, value in list(variables.items())[:3]
    }
    return named | slots | {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.array(7)}


def test_kernels_are_turned_and_biases_kept(network: torch.nn.Module) -> None:
    variables = variables_of(network)
    assert variables["fnet/conv1/kernel"].shape == (7, 7, 3, 64)
    assert variables["update_block/gru/convz1/kernel"].shape == (1, 5, 384, 128)
    weight = network.state_dict()["feature_encoder.convnormrelu.0.weight"].numpy()
    assert np.array_equal(variables["fnet/conv1/kernel"][2, 5, 1], weight[:, 1, 2, 5])
    assert len(variables) == len(network.state_dict()) == 2 * len(smurf_tensorflow.LAYERS)


def test_the_converted_file_gives_the_same_flow(network: torch.nn.Module, tmp_path: Path) -> None:
    np.savez(tmp_path / "smurf.npz", **as_checkpoint(variables_of(network)), allow_pickle=np.array({"a": 1}))
    command = ["convert", str(tmp_path / "smurf.npz"), str(tmp_path / "raft_smurf.safetensors")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    official = load_checkpoint(tmp_path / "raft_smurf.safetensors").state_dict
    assert set(official) == set(raft_smurf.from_network(network.state_dict()))
    other = smurf_network()
    other.load_state_dict(raft_smurf.to_network(official))
    images = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    flows = [RaftMotion(net, updates=2).flow(*images) for net in (network, other)]
    assert torch.equal(*flows) and float(flows[0].abs().max()) > 0


def test_other_names_need_a_table(network: torch.nn.Module, tmp_path: Path) -> None:
    renamed = {f"raft/{name.replace('fnet', 'features')}": v for name, v in variables_of(network).items()}
    np.savez(tmp_path / "smurf.npz", **renamed)
    with pytest.raises(WeightsError, match=r"missing, such as fnet/conv1/kernel"):
        convert(tmp_path / "smurf.npz", tmp_path / "a.safetensors")
    table = {theirs.replace("fnet", "features"): ours for theirs, ours in smurf_tensorflow.LAYERS.items()}
    (tmp_path / "names.json").write_text(json.dumps(table))
    command = ["convert", str(tmp_path / "smurf.npz"), str(tmp_path / "b.safetensors")]
    result = CliRunner().invoke(app, [*command, "--names", str(tmp_path / "names.json")])
    assert result.exit_code == 0, result.output
    state = load_checkpoint(tmp_path / "b.safetensors").state_dict
    assert torch.equal(
        state["raft.feature_encoder.conv.bias"], network.state_dict()["feature_encoder.conv.bias"]
    )


def test_two_of_a_kind_and_wrong_shapes_are_refused(network: torch.nn.Module) -> None:
    variables = {name: torch.from_numpy(value) for name, value in variables_of(network).items()}
    twice = variables | {"copy/fnet/conv1/bias": variables["fnet/conv1/bias"]}
    with pytest.raises(WeightsError, match="2 times"):
        smurf_tensorflow.to_official(twice)
    flat = variables | {"fnet/conv1/kernel": variables["fnet/conv1/kernel"].flatten()}
    with pytest.raises(WeightsError, match="no convolution"):
        smurf_tensorflow.to_official(flat)


def test_a_damaged_archive_is_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "smurf.npz"
    np.savez(path, **variables_of(network))
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"smurf\.npz"):
        load_checkpoint(path)
