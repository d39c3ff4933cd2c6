"""Rows of the mixing: a whole iteration's, and its parts beside the way the original does them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.quadmix.samples import BATCH, CLASSES, SIZE, blobs, clip
from benchmarks.quadmix.twins import Way, ratio, times_faster
from nolabel.data.mixing import pixels_of, present_classes
from nolabel.data.photometric import gaussian_blur, reference_kernel_size
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.class_vectors import class_vectors
from nolabel.methods.quadmix.clip import paste
from nolabel.methods.quadmix.draws import Plan, choose_source_classes
from nolabel.methods.quadmix.feature_distance import downscale_labels
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.mixing_config import QuadMixConfig, RareClassesConfig
from nolabel.methods.quadmix.patches import Patches
from nolabel.methods.quadmix.pseudo_label import PseudoLabelConfig, pseudo_labels
from nolabel.methods.quadmix.strong_view import StrongViewConfig, draw_view, strong_view


def random_patches(size: tuple[int, int], device: str) -> Patches:
    """Patches of two rare classes for both composites, as if read."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, BATCH, 2, 3, *size), dtype=torch.uint8, generator=generator)
    masks = torch.rand(2, BATCH, 2, *size, generator=generator) < 0.05
    return Patches((3, 12), frames.to(device), masks.to(device))


def prepare_step(bench: Bench) -> Work:
    """Draw, mix and change the views of both composites; patches are read already."""
    source, target, old_source, old_target = (
        clip(seed, teacher, device=bench.device) for seed, teacher in enumerate((False, True, False, True))
    )
    templates = Templates(old_source, old_target)
    mixer = QuadMix(QuadMixConfig(rare=RareClassesConfig(classes=(3, 12))))
    generator = torch.Generator().manual_seed(0)
    patches = random_patches(SIZE, bench.device)
    # Every composite is jittered and blurred, the dearest case.
    view = StrongViewConfig(jitter=1, blur=1)

    def work() -> None:
        draws = mixer.draw(generator, target, templates, Plan(None, (3, 12)))
        mixed = mixer.apply(draws, source, target, templates, patches)
        for composite in mixed[:2]:
            strong_view(composite, draw_view(generator, BATCH, view), view)
        mixer.store(draws, source, replace(target))

    return work


def beside(own: Way, original: Way, bench: Bench) -> Work:
    """Measure both ways in every repetition."""
    return lambda: ratio(own, original, bench.device)


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
    return beside(lambda: gaussian_blur(image, torch.tensor([sigma])), lambda: wide_blur(image, sigma), bench)


def prepare_masks(bench: Bench) -> Work:
    """Masks of two drawn classes of two maps, by table, and by sorting and comparing class by class."""
    labels, keys = blobs(0, device=bench.device), torch.rand(BATCH, 256)

    def one_by_one() -> Tensor:
        masks = []
        for map_ in labels:
            present = torch.unique(map_)
            chosen = present[torch.randperm(len(present))[:2]]
            masks.append((map_[None] == chosen[:, None, None]).any(0))
        return torch.stack(masks)

    assert present_classes(labels).any(1).all()
    return beside(lambda: pixels_of(labels, choose_source_classes(labels, keys, 2)), one_by_one, bench)


def prepare_paste(bench: Bench) -> Work:
    """Paste one clip onto another: by choosing, and by products of floats, sample by sample, with labels as floats."""
    base, donor = (clip(seed, True, device=bench.device) for seed in (0, 1))
    mask = blobs(2, device=bench.device)[:, None] < 4

    def by_products() -> list[Tensor]:
        results = []
        for maps in ("frames", "labels", "weight"):
            whole = []
            for index in range(BATCH):
                m = mask[index].float()
                first, second = (getattr(one, maps)[index].float() for one in (donor, base))
                whole.append(m * first + (1 - m) * second)
            results.append(torch.stack(whole))
        results[1] = results[1].long()
        return results

    return beside(lambda: paste(base, donor, mask), by_products, bench)


def prepare_pseudo_labels(bench: Bench) -> Work:
    """Label, confidence and weight of two images: without and with the probabilities of all classes."""
    scores = 3 * torch.randn(BATCH, CLASSES, *SIZE, generator=torch.Generator().manual_seed(0))
    scores, config = scores.to(bench.device), PseudoLabelConfig()

    def of_all_classes() -> tuple[Tensor, ...]:
        probability, labels = torch.max(torch.softmax(scores, dim=1), dim=1)
        large = probability.ge(0.968).long() == 1
        share = torch.sum(large).item() / large.numel()
        return labels, probability.ge(0.9), share * torch.ones_like(probability)

    return beside(lambda: pseudo_labels(scores, config), of_all_classes, bench)


def prepare_downscale(bench: Bench) -> Work:
    """Class of every 64x64 cell of two label maps: by counting, and by the mean of 20 one-hot maps of floats."""
    labels = blobs(0, device=bench.device)

    def by_means() -> Tensor:
        hot = F.one_hot(labels, CLASSES + 1).permute(0, 3, 1, 2).float()
        share, winner = F.avg_pool2d(hot, 64).max(1)
        winner[winner == CLASSES] = 255
        winner[share < 0.75] = 255
        return winner

    return beside(lambda: downscale_labels(labels, 64, CLASSES), by_means, bench)


def prepare_vectors(bench: Bench) -> Work:
    """Mean scores of 15 classes on the grid of the video transformer: by one product, and class by class."""
    scores = torch.randn(1, 15, 128, 256, generator=torch.Generator().manual_seed(0)).to(bench.device)

    def one_by_one() -> Tensor:
        found, rows = scores.argmax(1), []
        for number in range(15):
            mask = found == number
            if mask.sum().item() < 5:
                rows.append(torch.zeros(15, device=scores.device))
                continue
            rows.append((scores * mask[:, None]).sum((0, 2, 3)) / mask.sum())
        return torch.stack(rows)

    return beside(lambda: class_vectors(scores), one_by_one, bench)


Twin = partial(Row, note=times_faster)

ROWS = (
    # Worked out from the parts of UDASS image specification 6: masks, eight pastes, four jitters and blurs.
    Row("mixing", "QuadMix, 2 + 2 images 1024x1024, both views", prepare_step, 3.2, extrapolated=True),
    Twin("blur", "blur of 1024x1024, sigma 1.15, beside 103 taps", prepare_blur),
    Twin("masks", "class masks of 2 maps 1024x1024, beside a loop", prepare_masks),
    Twin("paste", "paste 2 images, labels, weights 1024x1024, beside float products", prepare_paste),
    Twin("pseudo-labels", "pseudo labels of 2x19x1024x1024, beside softmax", prepare_pseudo_labels),
    Twin("cells", "label cells of 2 maps 1024x1024, beside one-hot floats", prepare_downscale),
    Twin("class-vectors", "class means of 15x128x256, beside a loop", prepare_vectors),
)
