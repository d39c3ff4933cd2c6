"""Files that try to run something: every one must be refused, and nothing may have run."""

import io
import os
import pickle
import struct
import subprocess
import zipfile

import pytest
import torch

from nolabel.errors import WeightsError
from nolabel.weights import load_checkpoint


class Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "it-ran"


def hostile_calls(mark):
    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, touch),
        "subprocess.Popen": Call(subprocess.Popen, touch.split()),
        "subprocess.call": Call(subprocess.call, touch.split()),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "builtins.getattr": Call(getattr, "x", "upper"),
        "builtins.__import__": Call(__import__, "this"),
        "torch.hub.load": Call(torch.hub.load, "x", "y"),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
    }


NAMES = list(hostile_calls("x"))


def refused(path, mark, name=None):
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    assert not mark.exists(), "the file's code ran"
    if name is not None:
        assert f"carries code ({name})" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle0", "pickle2", "pickle5"])
def test_calls_are_refused_by_name(tmp_path, mark, name, kind):
    content = {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": {"a": [hostile_calls(mark)[name]]}}
    path = tmp_path / "x.ckpt"
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps({**content, "state_dict": {}}, protocol=int(kind[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    refused(path, mark, name)


def test_a_call_inside_the_state_dict_is_refused(tmp_path, mark):
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(2), "v": Call(os.system, f"touch {mark}")}, path)
    refused(path, mark, "os.system")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_nested_in_a_tensors_bytes_is_refused(tmp_path, mark, protocol):
    inner = io.BytesIO()
    torch.save(Call(os.system, f"touch {mark}"), inner)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"w": Call(torch.storage._load_from_bytes, inner.getvalue())}, protocol))
    refused(path, mark, "os.system")


def test_handwritten_opcodes_are_refused(tmp_path, mark):
    touch = f"touch {mark}".encode()
    programs = {
        "global": b"cos\nsystem\n(S'" + touch + b"'\ntR.",
        "inst": b"(S'" + touch + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + touch + b"'\no.",
        "newobj": b"\x80\x02cos\nsystem\n(S'" + touch + b"'\nt\x81.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(S'" + touch + b"'\ntR.",
        "posix": b"cposix\nsystem\n(S'" + touch + b"'\ntR.",
        "python 2": b"c__builtin__\neval\n(S'1'\ntR.",
        "python 2 commands": b"ccommands\ngetoutput\n(S'" + touch + b"'\ntR.",
        "dotted": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93(S'" + touch + b"'\ntR.",
        "gadget": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "rebuild of a call": b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch.hub\nload\nN(S'a'\nt}tR.",
        "reconstructor": b"ccopyreg\n_reconstructor\n(csite\nmain\ncbuiltins\nobject\nNtR.",
        "unknown function": b"cevil.module\nrun\n(S'1'\ntR.",
    }
    for name, program in programs.items():
        path = tmp_path / "x.pkl"
        path.write_bytes(program)
        with pytest.raises(WeightsError, match="carries code"):
            load_checkpoint(path)
        assert not mark.exists(), name


def test_an_unknown_class_is_never_imported(tmp_path, mark, monkeypatch):
    (tmp_path / "evil_on_import.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Node(dict): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}(U\x01acevil_on_import\nNode\n)\x81U\x01b}u.")
    refused(path, mark)  # no tensors in it


def test_attributes_cannot_be_laid_on_what_is_shared(tmp_path):
    from nolabel.weights import safe_pickle
    from nolabel.weights.safe_pickle import Inert

    before = dict(vars(Inert))
    functions = {name: value for name, value in vars(safe_pickle).items() if hasattr(value, "__defaults__")}
    state = {name: (dict(f.__dict__), f.__defaults__, f.__kwdefaults__) for name, f in functions.items()}
    # BUILD on the class objects themselves
    for what in (
        b"ccollections\nOrderedDict\n",
        b"cyacs.config\nCfgNode\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
    ):
        path = tmp_path / "x.pkl"
        path.write_bytes(what + b"(dS'contents'\nI1\nsb.")
        with pytest.raises(WeightsError):
            load_checkpoint(path)
        path.write_bytes(what + b"(N(dS'__defaults__'\n(I1\nI2\ntstb.")
        with pytest.raises(WeightsError):
            load_checkpoint(path)
    assert dict(vars(Inert)) == before
    assert state == {
        name: (dict(f.__dict__), f.__defaults__, f.__kwdefaults__) for name, f in functions.items()
    }


@pytest.mark.parametrize("dtype", ["O8", "V8", "M8", "x", "i4,O"])
def test_arrays_of_objects_are_refused(tmp_path, dtype):
    path = tmp_path / "x.pkl"
    program = (
        b"\x80\x02}X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nX" + struct.pack("<I", len(dtype)) + dtype.encode() + b"\x85R\x89U\x10"
        + b"\x41" * 16 + b"tbs."
    )  # fmt: skip
    path.write_bytes(program)
    with pytest.raises(WeightsError):
        load_checkpoint(path)


def test_a_tensor_may_not_look_outside_its_storage(tmp_path):
    good = tmp_path / "good.pt"
    torch.save({"w": torch.arange(4.0), "c": Inertable()}, good)
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(tmp_path / "bad.pt", "w") as out:
        for item in archive.namelist():
            content = archive.read(item)
            if item.endswith("data.pkl"):
                assert content.count(b"K\x04\x85") == 1  # the size (4,)
                content = content.replace(b"K\x04\x85", b"K\x44\x85")
            out.writestr(item, content)
    with pytest.raises(WeightsError, match="larger than its numbers"):
        load_checkpoint(tmp_path / "bad.pt")


class Inertable:
    """Forces the file past PyTorch's own safe reader."""


def test_deep_nesting_is_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(WeightsError):
        load_checkpoint(path)
