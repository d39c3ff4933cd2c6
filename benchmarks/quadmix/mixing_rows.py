"""Rows of the mixing: a whole iteration's, and two of its parts beside the way the original does them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from nolabel.data.mixing import pixels_of, present_classes
from nolabel.data.photometric import gaussian_blur, reference_kernel_size
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.draws import Plan, choose_source_classes
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import QuadMixConfig, RareClassesConfig
from nolabel.methods.quadmix.patches import Patches
from nolabel.methods.quadmix.strong_view import StrongViewConfig, draw_view, strong_view

SIZE, BATCH, CLASSES = (1024, 1024), 2, 19


def blobs(device: str, seed: int) -> Tensor:
    """Label maps (B, H, W) of blobs, all classes."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(BATCH, CLASSES, SIZE[0] // 32, SIZE[1] // 32, generator=generator)
    return F.interpolate(cells, size=SIZE, mode="bilinear").argmax(1).to(device)


def clip(device: str, seed: int, teacher: bool) -> Clip:
    """Two images with labels, and weight and confidence of a teacher."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 3, *SIZE, generator=generator).to(device)
    sure = torch.rand(BATCH, *SIZE, generator=generator).to(device) if teacher else None
    return Clip.of_images(images, blobs(device, seed), sure, sure)


def ratio(work: Callable[[], object], original: Callable[[], object], device: str) -> tuple[float, float]:
    """Return the seconds of both, measured in turn."""
    seconds = []
    for run in (work, original):
        start = time.process_time() if device == "cpu" else time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append((time.process_time() if device == "cpu" else time.perf_counter()) - start)
    return seconds[0], seconds[1]


def times_faster(seconds: tuple[float, float]) -> str:
    """Say how the two compare."""
    own, original = seconds
    return f"{original / own:.1f} times faster: {1000 * own:.0f} against {1000 * original:.0f} ms"


def prepare_step(bench: Bench) -> Work:
    """Draw, mix and change the views of both composites; patches are read already."""
    source, target, old_source, old_target = (
        clip(bench.device, seed, teacher) for seed, teacher in enumerate((False, True, False, True))
    )
    templates = Templates(old_source, old_target)
    mixer = QuadMix(QuadMixConfig(rare=RareClassesConfig(classes=(3, 12))))
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, BATCH, 2, 3, *SIZE), dtype=torch.uint8, generator=generator)
    masks = (torch.rand(2, BATCH, 2, *SIZE, generator=generator) < 0.05).to(bench.device)
    patches = Patches((3, 12), frames.to(bench.device), masks)
    # Every composite is jittered and blurred, the dearest case.
    view = StrongViewConfig(jitter=1, blur=1)

    def work() -> None:
        draws = mixer.draw(generator, target, templates, Plan(None, (3, 12)))
        mixed = mixer.apply(draws, source, target, templates, patches)
        for composite in mixed[:2]:
            strong_view(composite, draw_view(generator, BATCH, view), view)
        mixer.store(draws, source, replace(target))

    return work


def wide_blur(image: Tensor, sigma: float) -> Tensor:
    """Convolve with a tenth of the image's side along both axes, as the original does."""
    channels, half = image.shape[1], reference_kernel_size(SIZE[0]) // 2
    distance = torch.arange(-half, half + 1.0, device=image.device)
    weights = torch.softmax(-(distance**2) / (2 * sigma**2), 0).expand(channels, 1, 1, -1)
    padded = F.pad(image, (half, half, half, half), mode="reflect")
    blurred = F.conv2d(padded, weights, groups=channels)
    return F.conv2d(blurred, weights.transpose(-1, -2), groups=channels)


def prepare_blur(bench: Bench) -> Work:
    """Blur one image with the kernel that its sigma needs, and with that of the original."""
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(bench.device)
    sigma = 1.15
    return lambda: ratio(
        lambda: gaussian_blur(image, torch.tensor([sigma])), lambda: wide_blur(image, sigma), bench.device
    )


def prepare_masks(bench: Bench) -> Work:
    """Masks of two drawn classes of two maps, by table, and by sorting and comparing class by class."""
    labels, keys = blobs(bench.device, 0), torch.rand(BATCH, 256)

    def one_by_one() -> Tensor:
        masks = []
        for map_ in labels:
            present = torch.unique(map_)
            chosen = present[torch.randperm(len(present))[:2]]
            masks.append((map_[None] == chosen[:, None, None]).any(0))
        return torch.stack(masks)

    assert present_classes(labels).any(1).all()
    return lambda: ratio(
        lambda: pixels_of(labels, choose_source_classes(labels, keys, 2)), one_by_one, bench.device
    )


ROWS = (
    # Worked out from the parts of UDASS image specification 6: masks, eight pastes, four jitters and blurs.
    Row("mixing", "QuadMix, 2 + 2 images 1024x1024, both views", prepare_step, 3.2, extrapolated=True),
    Row("blur", "blur of 1024x1024, sigma 1.15, beside 103 taps", prepare_blur, note=times_faster),
    Row("masks", "class masks of 2 maps 1024x1024, beside a loop", prepare_masks, note=times_faster),
)
