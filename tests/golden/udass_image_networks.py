"""Golden ``udass_image``: backbones, heads, HRDA at inference and in training, sliding windows, the discriminator."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from golden.support import case_parameters, cases, fill_layout, load_json, load_npz, need_root
from nolabel.methods.quadmix.losses import least_squares_loss, pixel_accuracy, resolution_loss
from nolabel.models.backbones import MIX_TRANSFORMERS, MixTransformer
from nolabel.models.segmentation import (
    HRDA,
    Box,
    DAFormerHead,
    DomainDiscriminator,
    SlidingWindow,
    build_segmentor,
    sliding_logits,
)
from nolabel.models.segmentation.adaptation import RESNET_DEPTHS, DilatedResNet
from nolabel.models.segmentation.normalise import DEVIATION, MEAN
from nolabel.weights.layouts import mmseg
from nolabel.weights.strict import strict_state

pytestmark = pytest.mark.golden

FOLDER = "udass_image"
# README table
BACKBONE, HEAD, FUSED, LARGE_FUSED, SMALL = 1e-3, 1e-4, 2e-4, 1e-3, 1e-5
ARGMAX, AGREEMENT = 0.999, 0.999
LOSS_SHARES = {"fused": 0.9, "detail": 0.1}


def state_of(meta: dict) -> dict[str, torch.Tensor]:
    return fill_layout(need_root() / FOLDER / meta["layout"], meta["salt"], meta.get("scale"))


def loaded(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    module.load_state_dict(strict_state(module.state_dict(), state))
    return module.eval()


def images_of(given: dict) -> torch.Tensor:
    """Recorded images are normalised; ours are in [0, 1]."""
    mean, deviation = torch.tensor((MEAN, DEVIATION))[..., None, None]
    return (torch.from_numpy(given["image"]) * deviation + mean) / 255


def hrda_of(meta: dict, **options) -> HRDA:
    state = state_of(meta)
    kind = mmseg.describe(state)
    network = build_segmentor(
        kind.name, kind.num_logits, detail_size=meta["net"]["cfg"]["hr"], **kind.options, **options
    )
    ours = mmseg.to_network(state)
    if network.scale_attention is None:
        ours = {name: value for name, value in ours.items() if not name.startswith("scale_attention.")}
    return loaded(network, ours)


def close(actual: torch.Tensor, recorded, tolerance: float, relative: float = 0.0) -> None:
    expected = torch.from_numpy(recorded)
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=relative, atol=tolerance)


def kinds(kind: str) -> list[Path]:
    """Return the cases of one kind of network, whatever their names."""
    return [
        path.parent
        for path in cases(FOLDER, "*/meta.json")
        if load_json(path).get("net", {}).get("kind") == kind
    ]


def test_every_kind_of_network_is_served() -> None:
    known = {"backbone", "r101", "daformer_head", "hrda"}
    for path in cases(FOLDER, "*/meta.json"):
        assert load_json(path).get("net", {}).get("kind", "hrda") in known, path


@pytest.mark.parametrize("path", case_parameters(FOLDER, "layout_*.json"))
def test_layouts_load_strictly_and_back(path: Path) -> None:
    state = fill_layout(path)
    if mmseg.is_official(state):
        kind = mmseg.describe(state)
        network: torch.nn.Module = build_segmentor(kind.name, kind.num_logits, **kind.options)
        loaded(network, mmseg.to_network(state))
        again = mmseg.from_network(network.state_dict())
    elif "classifier.weight" in state:
        network = loaded(
            DomainDiscriminator(state["conv1.weight"].shape[1]), mmseg.renamed(state, mmseg.DISCRIMINATOR)
        )
        again = mmseg.renamed(network.state_dict(), mmseg.DISCRIMINATOR, back=True)
    elif "conv_seg.weight" in state:
        network = loaded(head_of(state), mmseg.renamed(state, mmseg.HEADS))
        again = mmseg.renamed(network.state_dict(), mmseg.HEADS, back=True)
    else:
        network = loaded(backbone_of(state), mmseg.renamed(state, mmseg.BACKBONES))
        again = mmseg.renamed(network.state_dict(), mmseg.BACKBONES, back=True)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def backbone_of(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    name = mmseg.backbone_name({f"backbone.{key}": value for key, value in state.items()})
    if name in MIX_TRANSFORMERS:
        return MixTransformer(MIX_TRANSFORMERS[name])
    return DilatedResNet(RESNET_DEPTHS[name])


def head_of(state: dict[str, torch.Tensor]) -> DAFormerHead:
    count = sum(name.startswith("embed_layers.") and name.endswith("weight") for name in state)
    channels = [state[f"embed_layers.{index}.proj.weight"].shape[1] for index in range(count)]
    return DAFormerHead(channels, len(state["conv_seg.weight"]), **mmseg.head_options(state, ""))


@pytest.mark.parametrize("path", kinds("backbone"), ids=lambda path: path.name)
@torch.no_grad()
def test_mix_transformer(path: Path) -> None:
    given, recorded, meta = read(path)
    state = state_of(meta)
    assert (
        mmseg.backbone_name({f"backbone.{key}": value for key, value in state.items()}) == meta["net"]["type"]
    )
    network = loaded(
        MixTransformer(MIX_TRANSFORMERS[meta["net"]["type"]]), mmseg.renamed(state, mmseg.BACKBONES)
    )
    for number, features in enumerate(network(torch.from_numpy(given["image"])), start=1):
        close(features, recorded[f"stage{number}"], BACKBONE)


@pytest.mark.parametrize("path", kinds("r101"), ids=lambda path: path.name)
@torch.no_grad()
def test_dilated_resnet(path: Path) -> None:
    given, recorded, meta = read(path)
    network = DilatedResNet(RESNET_DEPTHS[f"resnet{meta['net']['depth']}"])
    loaded(network, mmseg.renamed(state_of(meta), mmseg.BACKBONES))
    every = 8  # README: every 8th channel
    for number, features in enumerate(network(torch.from_numpy(given["image"])), start=1):
        expected = recorded[f"stage{number}_ch8"]
        close(features[:, ::every], expected, BACKBONE * float(abs(expected).max()))


@pytest.mark.parametrize("path", kinds("daformer_head"), ids=lambda path: path.name)
@torch.no_grad()
def test_daformer_head(path: Path) -> None:
    given, recorded, meta = read(path)
    state = state_of(meta)
    fusion = "separable_aspp" if meta["net"]["sep"] else "aspp"
    head = DAFormerHead(meta["net"]["in_channels"], len(state["conv_seg.weight"]), fusion=fusion)
    loaded(head, mmseg.renamed(state, mmseg.HEADS))
    features = [torch.from_numpy(given[name]) for name in sorted(given)]
    close(head(features), recorded["logits"], HEAD)


@pytest.mark.parametrize("path", case_parameters(FOLDER, "hrda_*_inference*"))
@torch.no_grad()
def test_hrda_inference(path: Path) -> None:
    given, recorded, meta = read(path)
    network, images = hrda_of(meta), images_of(given)
    maps = network.maps(images)
    fused = network.fuse(maps)
    tolerance = FUSED if "full_strided" in recorded else LARGE_FUSED
    close(fused, recorded["fused_low"], tolerance)
    full = F.interpolate(fused, images.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(super(HRDA, network).full_size_logits(images), full)
    assert (full.argmax(1).numpy() == recorded["argmax_full"]).mean() >= ARGMAX
    if "full_strided" not in recorded:
        return
    close(full[:, :, 3::7, 2::7], recorded["full_strided"], tolerance)
    close(maps.context, recorded["lr_logits"], tolerance)
    close(maps.attention, recorded["attention"], tolerance)
    close(maps.detail, recorded["hr_logits_merged"], tolerance)
    side = meta["hr_crop"]
    boxes = SlidingWindow((side, side), (side // 2, side // 2)).boxes(tuple(images.shape[-2:]))
    assert [list(box) for box in boxes] == recorded["slide_boxes"].tolist()


@pytest.mark.parametrize("path", case_parameters(FOLDER, "hrda_*_options*"))
@torch.no_grad()
def test_hrda_options(path: Path) -> None:
    given, recorded, meta = read(path)
    images = images_of(given)
    changes = {
        "lr_only": {"fixed_attention": 0.0},
        "hr_only": {"fixed_attention": 1.0},
        "average": {"fixed_attention": 0.5},
        "no_overlap": {"overlapping": False},
    }
    for name, options in changes.items():
        close(hrda_of(meta, **options)(images), recorded[name], FUSED)
    close(hrda_of(meta).attention_map(images), recorded["attention_out"], FUSED)
    assert recorded.keys() == changes.keys() | {"attention_out"}


@pytest.mark.parametrize("path", case_parameters(FOLDER, "sliding_window*"))
@torch.no_grad()
def test_sliding_window(path: Path) -> None:
    given, recorded, meta = read(path)
    network, images = hrda_of(meta), images_of(given)
    logits = sliding_logits(network, images, SlidingWindow(tuple(meta["crop"]), tuple(meta["stride"])))
    close(logits[:, :, 1::5, 2::5], recorded["logits_strided"], FUSED)
    rescaled = F.interpolate(logits, tuple(meta["ori_shape"]), mode="bilinear", align_corners=False)
    close(rescaled[:, :, 1::5, 2::5], recorded["logits_rescaled_strided"], FUSED)
    close(rescaled.softmax(1)[:, :, 1::5, 2::5], recorded["softmax_strided"], FUSED)
    assert (rescaled.argmax(1)[0].numpy() == recorded["label"]).mean() >= AGREEMENT


@pytest.mark.parametrize("path", case_parameters(FOLDER, "hrda_*_train_losses*"))
@torch.no_grad()
def test_hrda_training_losses(path: Path) -> None:
    given, recorded, meta = read(path)
    network, images = hrda_of(meta), images_of(given)
    box = Box(*map(int, given["box"]))
    drawn = [draw["value"] * network.config.box_unit for draw in meta["draws"]]
    assert drawn == [box.top, box.left]
    outputs = network.training_outputs(images, box)
    names = {"fused": "fused", "context": "lr_weighted", "detail": "hr"}
    for ours, name in names.items():
        close(outputs.logits[ours], recorded[name], FUSED)
    close(outputs.features[-1], recorded["feat_stage4"], FUSED)
    label, weight = torch.from_numpy(given["label"])[:, 0], torch.from_numpy(given["weight"])
    labels = {"fused": label, "detail": box.of(label)}
    for mark, weights in (("w", {"fused": weight, "detail": box.of(weight)}), ("u", dict.fromkeys(labels))):
        _, parts = resolution_loss(outputs.logits, labels, weights, shares=LOSS_SHARES)
        for ours, name in (("fused", "decode"), ("detail", "decode_hr")):
            close(parts[ours].reshape(1), recorded[f"{mark}_{name}_loss_seg"], 0.0, SMALL)
            size = labels[ours].shape[-2:]
            full = F.interpolate(outputs.logits[ours], size, mode="bilinear", align_corners=False)
            accuracy = 100 * pixel_accuracy(full, labels[ours])
            close(accuracy.reshape(1), recorded[f"{mark}_{name}_acc_seg"], 0.1)


@pytest.mark.parametrize("path", case_parameters(FOLDER, "discriminator*"))
@torch.no_grad()
def test_discriminator(path: Path) -> None:
    given, recorded, meta = read(path)
    state, logits = state_of(meta), torch.from_numpy(given["logits"])
    network = loaded(DomainDiscriminator(logits.shape[1]), mmseg.renamed(state, mmseg.DISCRIMINATOR))
    scores = network(logits.softmax(1))
    close(scores, recorded["out"], SMALL)
    for domain, name in (("source", "src"), ("target", "trg")):
        close(least_squares_loss(scores, domain).reshape(1), recorded[f"ls_loss_{name}"], SMALL)


def read(path: Path) -> tuple[dict, dict, dict]:
    return load_npz(path / "input.npz"), load_npz(path / "output.npz"), load_json(path / "meta.json")
