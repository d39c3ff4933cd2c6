import argparse
import collections
import json
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer import Typer
from typer.testing import CliRunner

from nolabel.errors import WeightsError
from nolabel.weights import (
    REGISTRY,
    convert,
    file_hash,
    find_weights,
    load_checkpoint,
    save_safetensors,
    select_part,
)


def modules(monkeypatch):
    """Classes as the originals pickle them, in modules that only exist while writing."""
    yacs = types.ModuleType("yacs.config")

    class CfgNode(dict):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.__dict__["__immutable__"] = True

    omega = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self, content):
            self.__dict__.update(_metadata=Meta(), _parent=None, _content=content)

    class AnyNode:
        def __init__(self, value, parent=None):
            self._val, self._parent = value, parent

    class Meta:
        pass

    lightning = types.ModuleType("lightning_fabric.utilities.data")

    class AttributeDict(dict):
        pass

    for module, kinds in (
        (yacs, [CfgNode]),
        (omega, [DictConfig, AnyNode, Meta]),
        (lightning, [AttributeDict]),
    ):
        for kind in kinds:
            kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
            setattr(module, kind.__name__, kind)
        parts = module.__name__.split(".")
        for depth in range(1, len(parts)):
            parent = types.ModuleType(".".join(parts[:depth]))
            monkeypatch.setitem(sys.modules, parent.__name__, parent)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return yacs.CfgNode, omega.DictConfig, omega.AnyNode, lightning.AttributeDict


def lightning_content(monkeypatch):
    cfg_node, dict_config, any_node, attribute_dict = modules(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    omega = dict_config({"dim": any_node(100), "nested": None})
    omega.__dict__["_content"]["nested"] = dict_config({"type": any_node("vit", omega)})
    state = collections.OrderedDict(
        {
            "model.a.weight": base,
            "model.a.bias": base[1:3, ::2],  # shares memory, not contiguous
            "model.half": base.bfloat16(),
            "model.count": torch.tensor(7),
            "model.empty": torch.empty(0, 3),
            "model.parameter": torch.nn.Parameter(base.clone()),
            "teacher_model.model.a.weight": base * 2,
        }
    )
    state._metadata = {"": {"version": 1}}
    return {
        "pytorch-lightning_version": "2.0.0",
        "epoch": 3,
        "state_dict": state,
        "hyper_parameters": attribute_dict(
            config=cfg_node({"MODEL": cfg_node({"K": 27})}),
            omega=omega,
            namespace=argparse.Namespace(lr=0.1),
            root=pathlib.PurePosixPath("/data/x"),
            things=(22, 23),
            kinds={3},
            scalar=np.float64(0.5),
            array=np.arange(6, dtype=np.int16).reshape(2, 3),
            dtype=torch.float16,
            size=torch.Size([1, 2]),
            lists=collections.defaultdict(list, {"a": [1]}),
        ),
        "optimizer_states": [{"state": {0: {"exp_avg": base * 3}}}],
    }


@pytest.mark.parametrize("new", [True, False])
def test_lightning_with_configuration_objects(tmp_path, monkeypatch, new):
    content = lightning_content(monkeypatch)
    torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=new)
    monkeypatch.undo()
    checkpoint = load_checkpoint(tmp_path / "x.ckpt")
    assert checkpoint.format == "lightning"
    assert list(checkpoint.state_dict) == list(content["state_dict"])
    for name, value in content["state_dict"].items():
        got = checkpoint.state_dict[name]
        assert got.dtype == value.dtype and torch.equal(got, value.detach()), name
    hyper = checkpoint.metadata["hyper_parameters"]
    assert hyper["config"] == {"MODEL": {"K": 27}} and type(hyper["config"]) is dict
    assert hyper["omega"] == {"dim": 100, "nested": {"type": "vit"}}
    assert hyper["namespace"] == {"lr": 0.1} and hyper["root"] == "/data/x"
    assert hyper["things"] == (22, 23) and hyper["kinds"] == [3] and hyper["scalar"] == 0.5
    assert np.array_equal(hyper["array"], np.arange(6).reshape(2, 3)) and hyper["array"].dtype == np.int16
    assert hyper["dtype"] == torch.float16 and hyper["size"] == (1, 2) and hyper["lists"] == {"a": [1]}
    assert torch.equal(
        checkpoint.metadata["optimizer_states"][0]["state"][0]["exp_avg"],
        content["optimizer_states"][0]["state"][0]["exp_avg"],
    )


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("new", [True, False])
def test_plain_torch_files(tmp_path, key, new):
    state = {"a.weight": torch.rand(3, 2), "n": torch.tensor(3)}
    torch.save(
        state if key is None else {key: state, "iter": 5}, tmp_path / "x", _use_new_zipfile_serialization=new
    )
    checkpoint = load_checkpoint(tmp_path / "x")
    assert checkpoint.format == "torch" and checkpoint.metadata == ({} if key is None else {"iter": 5})
    assert all(torch.equal(checkpoint.state_dict[name], value) for name, value in state.items())


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("order", ["<", ">"])
def test_detectron2_pickles(tmp_path, protocol, order):
    arrays = {
        "stem.conv1.weight": np.random.default_rng(0).standard_normal((2, 3, 2)).astype(f"{order}f4"),
        "fortran": np.asfortranarray(np.arange(6, dtype=f"{order}i8").reshape(2, 3)),
    }
    content = {"model": arrays, "__author__": "Jörg", "matching_heuristics": True}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    checkpoint = load_checkpoint(tmp_path / "x.pkl")
    assert checkpoint.format == "detectron2" and checkpoint.metadata["__author__"] == "Jörg"
    for name, value in arrays.items():
        assert np.array_equal(checkpoint.state_dict[name].numpy(), value)


def test_a_python_2_pickle(tmp_path):
    program = (
        b"(dS'model'\n(dS'w'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntbss."
    )
    (tmp_path / "x.pkl").write_bytes(program)
    assert load_checkpoint(tmp_path / "x.pkl").state_dict["w"].tolist() == [1.0, 2.0]


def test_the_content_decides_not_the_name(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "x.ckpt")
    assert load_checkpoint(tmp_path / "x.ckpt").format == "safetensors"


@pytest.mark.parametrize("kind", ["zip", "legacy", "objects", "pickle", "safetensors"])
def test_truncated_files_say_so_at_every_length(tmp_path, kind, monkeypatch):
    path = tmp_path / "x"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": {"w": np.ones(50, np.float32)}}))
    elif kind == "safetensors":
        save_file({"w": torch.ones(50)}, path)
    elif kind == "objects":
        torch.save(lightning_content(monkeypatch), path)
    else:
        torch.save({"w": torch.ones(50)}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for length in [0, 1, 5, 9, *range(20, len(whole) - 1, max(1, len(whole) // 25)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"x"):
            load_checkpoint(path)


def test_what_is_no_weights(tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        load_checkpoint(tmp_path / "absent.pth")
    for content in (b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" + b"0" * 50, b"PK\x03\x04" + b"0" * 50):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(WeightsError):
            load_checkpoint(tmp_path / "x")
    torch.save({"epoch": 3}, tmp_path / "x")
    with pytest.raises(WeightsError, match="no tensors; its keys are epoch"):
        load_checkpoint(tmp_path / "x")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x"))
    with pytest.raises(WeightsError, match="TorchScript"):
        load_checkpoint(tmp_path / "x")


def test_parts():
    one, two = torch.ones(1), torch.zeros(1)
    cups = {"model.a": one, "teacher_model.model.a": two}
    udass = {"module.model.a": one, "module.ema_model.a": two, "module.imnet_model.a": two}
    for state in (cups, udass):
        assert select_part(state) == {"a": one} and select_part(state, "teacher") == {"a": two}
    assert select_part({"model.a": one, "decoder.b": two}).keys() == {"model.a", "decoder.b"}
    with pytest.raises(WeightsError, match="no teacher"):
        select_part({"model.a": one}, "teacher")


def test_safetensors_are_deterministic_and_round_trip(tmp_path):
    base = torch.rand(4, 4)
    state = {"b": base, "a": base.t(), "c": base[0], "d": torch.tensor(3)}
    card = {"z": 1, "a": [1, "ö"], "nested": {"y": None, "x": 0.5}}
    save_safetensors(tmp_path / "1.safetensors", state, card)
    save_safetensors(tmp_path / "2.safetensors", dict(reversed(state.items())), dict(reversed(card.items())))
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    checkpoint = load_checkpoint(tmp_path / "1.safetensors")
    assert checkpoint.metadata == card and checkpoint.format == "safetensors"
    assert all(torch.equal(checkpoint.state_dict[name], value) for name, value in state.items())


def test_convert(tmp_path, monkeypatch):
    torch.save(lightning_content(monkeypatch), tmp_path / "cups.ckpt")
    from nolabel.cli.weights import convert as command

    app = Typer()
    app.command()(command)
    arguments = [str(tmp_path / "cups.ckpt"), str(tmp_path / "out"), "--part", "teacher"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    written = tmp_path / "out" / "cups_teacher.safetensors"
    assert result.exit_code == 0 and str(written) in result.output
    card = json.loads(written.with_suffix(".json").read_text())
    assert card["source_sha256"] == file_hash(tmp_path / "cups.ckpt") and card["source_format"] == "lightning"
    assert card["metadata"]["hyper_parameters"]["config"] == {"MODEL": {"K": 27}}
    assert list(load_checkpoint(written).state_dict) == ["a.weight"]
    student = convert(tmp_path / "cups.ckpt", tmp_path / "s.safetensors", part="student")
    assert "a.bias" in load_checkpoint(student).state_dict
    assert set(load_checkpoint(convert(tmp_path / "cups.ckpt", tmp_path / "out")).state_dict) == set(
        load_checkpoint(tmp_path / "cups.ckpt").state_dict
    )


def test_find_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("NOLABEL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=r"(?s)no cups\.ckpt in .*get cups\.ckpt from https://"):
        find_weights("cups")
    with pytest.raises(WeightsError, match="did you mean dino_vitb8"):
        find_weights("dino_vitb88")
    with pytest.raises(WeightsError, match=r"no weights file .*x\.ckpt"):
        find_weights(tmp_path / "x.ckpt")
    (tmp_path / "cups.ckpt").touch()
    assert find_weights("cups") == find_weights(tmp_path / "cups.ckpt") == tmp_path / "cups.ckpt"
    (tmp_path / "cups.safetensors").touch()
    assert find_weights("cups") == tmp_path / "cups.safetensors"


def test_registry_is_complete():
    systems = ("cups", "unmore", "scenedino", "udass_image", "udass_video", "cotraining", "dino", "raft")
    assert all(any(name.startswith(system) for name in REGISTRY) for system in systems)
    assert all(
        entry.source.startswith("https://") and entry.citation and entry.layout for entry in REGISTRY.values()
    )
