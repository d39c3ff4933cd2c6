"""Parts of self-training that a whole run does not show: labels alone, and which network labels."""

import torch

from nolabel.engine.segmentor_file import load_model, save_model
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.cotraining.label import read_label_set
from nolabel.methods.cotraining.new_model import new_model
from nolabel.methods.cotraining.selection import read_selection
from nolabel.methods.cotraining.self_training import Branch, self_train
from nolabel.methods.cotraining.settings import NetworkConfig
from nolabel.methods.cotraining.training import SourceData
from tests.methods.cotraining.micro_world import open_world, settings, write_world


def test_labels_alone_and_the_best_network_labels(tmp_path):
    torch.set_num_threads(1)
    source, target, _ = open_world(write_world(tmp_path / "world"))
    config = settings().self_training
    labels = config.labels.model_copy(update={"recompute_cycles": 0})
    config = config.model_copy(update={"labels": labels, "best": True})
    torch.manual_seed(0)
    model = new_model(NetworkConfig(name="tiny"), CITYSCAPES_19, labels.size)
    start = save_model(model, tmp_path / "start.safetensors")
    # The first network has the best score, so it labels every cycle.
    scores = {str(start): 0.5}
    score = lambda model: {"miou": scores.get(str(model.source), 0.2)}  # noqa: E731
    branch = Branch(start, SourceData(source), target, "cpu", score, progress=False)

    out = tmp_path / "out"
    assert self_train(branch, out, config, only_labels=True) == []
    made = read_label_set(out / "cycle_00" / "pseudo_labels")
    chosen = read_selection(out / "cycle_00" / "selection")
    assert len(made.names) == 3 and len(chosen) == 2 and not (out / "cycle_00" / "training").exists()

    networks = self_train(branch, out, config)
    assert len(networks) == 2 and read_selection(out / "cycle_00" / "selection") == chosen
    for cycle in ("cycle_00", "cycle_01"):
        assert f'"labeller": "{start}"' in (out / cycle / "cycle.json").read_text()
    assert load_model(networks[1]).architecture == "tiny"
