"""Segmentation networks on disk: our file, run folders, and the official layout."""

import pytest
import torch

from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segment import segment_stream
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentor_file import MODEL_FILE, SegmentorModel, load_model, save_model
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import CAMVID_11, CITYSCAPES_19, LabelClass, LabelSpace
from nolabel.models.segmentation import DeepLabV3Plus, build_segmentor
from nolabel.weights import convert
from nolabel.weights.layouts import deeplab_v3_plus

OWN = LabelSpace("own", (LabelClass("ground", (1, 2, 3), False), LabelClass("thing", (4, 5, 6), True)))


def tiny(space=CAMVID_11, void=1, **options) -> SegmentorModel:
    torch.manual_seed(0)
    network = build_segmentor("tiny", space.num_classes + void, **options).eval()
    torch.nn.init.normal_(network.classifier.weight, std=1.0)
    return SegmentorModel(network, "tiny", space, options, InferenceSize(shortest_edge=32, longest_edge=64))


@pytest.mark.parametrize(("space", "void"), [(CAMVID_11, 1), (OWN, 0)])
def test_a_file_of_ours_predicts_the_same(tmp_path, space, void):
    model = tiny(space, void, width=16)
    save_model(model, tmp_path / MODEL_FILE, stage="baseline")
    again = load_model(tmp_path)
    assert (again.space, again.facts, again.inference) == (space, {"stage": "baseline"}, model.inference)
    images = [torch.rand(3, 40, 50), torch.rand(3, 20, 30), torch.rand(3, 20, 30)]
    before = list(segment_stream(model, images))
    for batch_size in (1, 2):
        after = list(segment_stream(again, images, PredictionOptions(batch_size)))
        assert [r.size for r in after] == [(40, 50), (20, 30), (20, 30)]
        for one, other in zip(before, after, strict=True):
            assert (one.labels == other.labels).float().mean() > 0.999
    assert len(before[0].labels.unique()) > 1


def test_void_is_255_and_sizes_are_asked_for():
    model = tiny(OWN)
    model.network.classifier.bias.data[-1] = 1e4
    (result,) = segment_stream(model, [torch.rand(3, 20, 30)], PredictionOptions(1, (10, 12), 24))
    assert result.size == (10, 12) and result.labels.unique().tolist() == [255]


def test_the_official_checkpoint_loads_and_converts(tmp_path):
    """Structure of the released files: 688 tensors below ``model``, pickled, some without counters."""
    with torch.device("meta"):
        network = DeepLabV3Plus()
    torch.manual_seed(0)
    small = {
        name: torch.zeros(value.shape, dtype=value.dtype) for name, value in network.state_dict().items()
    }
    small["classifier.bias"][7] = 1.0
    official = deeplab_v3_plus.from_network(small)
    assert len(official) == 688
    torch.save({"model": official, "iteration": 59999}, tmp_path / "model_final.pth")
    written = convert(tmp_path / "model_final.pth", tmp_path / "converted")
    for file in (tmp_path / "model_final.pth", written):
        model = load_model(file)
        assert (model.space, model.network.num_logits) == (CITYSCAPES_19, 20)
        assert model.network.classifier.bias.detach().argmax() == 7
    with pytest.raises(ConfigError, match="11 classes"):
        load_model(written, space=CAMVID_11)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="not finished"):
        load_model(tmp_path)
    torch.save({"model": {"backbone.stem.conv1.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no segmentation network"):
        load_model(tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="5 logits"):
        SegmentorModel(build_segmentor("tiny", 5), "tiny", CAMVID_11)
