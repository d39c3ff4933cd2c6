"""Two branches of different architectures, one after the other and beside each other."""

import pytest
import torch

from nolabel.engine.segmentor_file import load_model, save_model
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cotraining.co_training import co_train
from nolabel.methods.cotraining.new_model import new_model
from nolabel.methods.cotraining.self_training import Branch
from nolabel.methods.cotraining.settings import NetworkConfig
from nolabel.methods.cotraining.training import SourceData
from tests.methods.cotraining.micro_world import open_world, settings, write_world

NETWORKS = {"a": {"name": "tiny"}, "b": {"name": "deeplab_v3_plus_tiny", "options": {"pyramid_channels": 16}}}


def content(out):
    """Everything that counts, by path."""
    kinds = (".safetensors", ".png", ".txt", ".npy")
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.suffix in kinds}
    return {
        name: path.read_text().replace(str(out), "OUT") if path.suffix == ".txt" else path.read_bytes()
        for name, path in found.items()
    }


@pytest.mark.slow
def test_the_results_are_the_same_beside_each_other(tmp_path, capfd):
    torch.set_num_threads(1)
    source, target, _ = open_world(write_world(tmp_path / "world"))
    config = settings().co_training
    labels = config.labels.model_copy(update={"recompute_cycles": 0})
    config = config.model_copy(update={"cycles": 1, "labels": labels})
    branches = []
    for seed, (name, network) in enumerate(NETWORKS.items()):
        torch.manual_seed(seed)
        model = new_model(NetworkConfig.model_validate(network), CITYSCAPES_19, labels.size)
        start = save_model(model, tmp_path / f"{name}.safetensors")
        branches.append(Branch(start, SourceData(source), target, "cpu"))
    found = {}
    for parallel in (False, True):
        out = tmp_path / f"parallel_{parallel}"
        (pair,) = co_train(branches, out, config, parallel=parallel)
        assert [load_model(path).architecture for path in pair] == [n["name"] for n in NETWORKS.values()]
        found[parallel] = content(out)
    assert len(found[True]) > 10 and found[True].keys() == found[False].keys()
    assert [name for name in found[True] if found[True][name] != found[False][name]] == []
    lines = capfd.readouterr().err.splitlines()
    assert {line[:4] for line in lines if "steps of 1 (1 more to paste) of 5 source images" in line} == {
        "3 st",
        "[A] ",
        "[B] ",
    }
