"""The image networks: single passes, HRDA on large images, sliding windows, a training pass.

Originals from the UDASS image specification, section 6 (single thread, float32, another machine).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from nolabel.models.segmentation import HRDA, EncoderDecoder, Segmentor, build_segmentor
from nolabel.models.segmentation.normalise import normalise_imagenet

CLASSES = 19


def image(bench: Bench, height: int, width: int, batch: int = 1) -> Tensor:
    """Noise in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=generator).to(bench.device)


def network(bench: Bench, name: str, **options: object) -> Segmentor:
    """A network of official size with random weights, in evaluation mode."""
    return build_segmentor(name, CLASSES, **options).eval().to(bench.device)


def prepare_backbone(bench: Bench) -> Work:
    """MiT-B5 alone."""
    model, pixels = network(bench, "daformer_mit_b5"), normalise_imagenet(image(bench, 512, 512))
    return torch.inference_mode()(lambda: model.backbone(pixels))


def prepare_head(bench: Bench) -> Work:
    """DAFormer's head alone."""
    model, pixels = network(bench, "daformer_mit_b5"), image(bench, 512, 512)
    assert isinstance(model, EncoderDecoder)
    with torch.inference_mode():
        features = model.features(pixels)
    return torch.inference_mode()(lambda: model.head(features))


def prepare_whole(bench: Bench, height: int, width: int) -> Work:
    """HRDA on an image as a whole."""
    model, pixels = network(bench, "hrda_mit_b5", window=0), image(bench, height, width)
    return torch.inference_mode()(lambda: model.full_size_logits(pixels))


def prepare_sliding(bench: Bench, name: str, detail: int, shared: bool) -> Work:
    """HRDA through windows of twice the detail, on an image of the proportions of Cityscapes."""
    model, pixels = network(bench, name, detail_size=detail), image(bench, 2 * detail, 4 * detail)
    assert isinstance(model, HRDA)
    window = model.config.window
    assert window is not None

    @torch.inference_mode()
    def work() -> None:
        if shared:
            model.full_size_logits(pixels)
        else:
            for _ in Segmentor.window_logits(model, pixels, window.boxes((2 * detail, 4 * detail))):
                pass

    return work


def prepare_training(bench: Bench, name: str, side: int, batch: int) -> Work:
    """Forward and backward as in training: the whole image and one detail window."""
    model = network(bench, name, detail_size=side // 2).train()
    pixels = image(bench, side, side, batch)
    assert isinstance(model, HRDA)
    box = model.draw_box((side, side), torch.Generator().manual_seed(0))

    def work() -> None:
        model.zero_grad()
        logits = model.training_outputs(pixels, box).logits
        (logits["fused"].square().mean() + logits["detail"].square().mean()).backward()

    return work


NETWORK_ROWS = (
    Row("mit-b5", "MiT-B5 forward, 512x512", prepare_backbone, 4.2),
    Row("daformer-head", "DAFormer head forward, 512x512", prepare_head, 2.7),
    Row("hrda-b5", "HRDA MiT-B5 forward, 512x1024", partial(prepare_whole, height=512, width=1024), 23.1),
    *(
        Row(
            f"slide-{label}{'' if shared else '-apart'}",
            f"HRDA {label}, windows {2 * detail} over {2 * detail}x{4 * detail}, details "
            + ("once (21)" if shared else "in every window (27)"),
            partial(prepare_sliding, name=name, detail=detail, shared=shared),
        )
        for label, name, detail in (("b0", "hrda_mit_b0", 128), ("b5", "hrda_mit_b5", 256))
        for shared in (True, False)
    ),
    Row(
        "train-b5",
        "HRDA MiT-B5 forward and backward, 2 x 512x512",
        partial(prepare_training, name="hrda_mit_b5", side=512, batch=2),
        21.1,
    ),
    Row(
        "train-tiny",
        "HRDA on MiT-tiny forward and backward, 2 x 256x256",
        partial(prepare_training, name="hrda_mit_tiny", side=256, batch=2),
    ),
)
