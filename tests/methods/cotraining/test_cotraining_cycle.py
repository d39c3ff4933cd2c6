"""The parts fit together: one cycle of self-training and one of co-training on a toy domain gap."""

import pytest
import torch

from nolabel.data.colour_transfer import lab_statistics, transfer
from nolabel.data.resizing import resize_image, to_bytes
from nolabel.engine.segmentation_inference import InferenceSize, predict
from nolabel.methods.cotraining.augment import AugmentConfig, augment
from nolabel.methods.cotraining.batches import collate, mixed_batch
from nolabel.methods.cotraining.class_mix import classes_on_demand
from nolabel.methods.cotraining.exchange import (
    Branch,
    fuse_labels,
    rank_for_partner,
    share,
)
from nolabel.methods.cotraining.final_labels import final_labels
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy
from nolabel.methods.cotraining.optimiser import sgd_with_decay
from nolabel.methods.cotraining.prediction_files import PredictionFiles
from nolabel.methods.cotraining.pseudo_labels import label_images
from nolabel.methods.cotraining.selection import rank_images
from nolabel.methods.cotraining.thresholds import class_thresholds
from nolabel.models.segmentation import build_segmentor

CLASSES, VOID = 3, 3
COLOURS = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9]])


def scene(generator, tint):
    """Blocks of three colours (3, 32, 48) uint8 under a tint, with their labels."""
    labels = (
        torch.randint(0, CLASSES, (4, 6), generator=generator).repeat_interleave(8, 0).repeat_interleave(8, 1)
    )
    noise = 0.1 * torch.rand(3, 32, 48, generator=generator)
    image = (COLOURS[labels].permute(2, 0, 1) * tint[:, None, None] + noise).clamp(0, 1)
    return to_bytes(image), labels.to(torch.uint8)


@pytest.fixture(scope="module")
def domains():
    generator = torch.Generator().manual_seed(0)
    source = [scene(generator, torch.ones(3)) for _ in range(8)]
    target = [scene(generator, torch.tensor([0.5, 0.6, 0.9])) for _ in range(6)]
    statistics = lab_statistics(torch.stack([image for image, _ in target]))
    return [
        (transfer(image, statistics[torch.tensor(i % 6)]), labels) for i, (image, labels) in enumerate(source)
    ], target


def train(network, source, target, thresholds, steps):
    generator = torch.Generator().manual_seed(1)
    config = AugmentConfig(crop=(24, 32), shortest_edges=(28, 32))
    optimiser, schedule = sgd_with_decay(network, 0.1, steps, warmup_steps=2)

    def batch(samples, count):
        drawn = torch.randint(len(samples), (count,), generator=generator).tolist()
        return collate(
            [augment(*samples[i], config, generator, num_classes=CLASSES)[:2] for i in drawn], VOID
        )

    network.train()
    for _ in range(steps):
        images, labels = batch(source, 4)
        if target:
            choose = lambda maps: classes_on_demand(maps, thresholds)  # noqa: E731
            images, labels = mixed_batch((images, labels), batch(target, 2), choose)
        loss = hard_pixel_cross_entropy(
            network.full_size_logits(images), labels, ignore_index=VOID, fraction=1.0
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()


def accuracy(network, samples):
    images = torch.stack([image for image, _ in samples]) / 255
    labels = torch.stack([labels for _, labels in samples])
    return float((predict(network, images).labels == labels).float().mean())


def label(network, target, folder):
    """Predict, threshold and label the target images; return thresholds, scores and maps."""
    files = PredictionFiles(folder, [str(i) for i in range(len(target))])
    size = InferenceSize(shortest_edge=32, longest_edge=64)
    for name, (image, _) in zip(files.names, target, strict=True):
        native = (image.shape[-2], image.shape[-1])
        shown = resize_image(image, size.of_network(native))[None] / 255
        found = predict(network, shown, size.of_labels(native))
        files.write(name, type(found)(found.labels[0], found.confidence[0]))
    thresholds = class_thresholds(files, CLASSES + 1, 0.5)
    maps = {}
    scores = label_images(files, len(files), thresholds, maps.__setitem__)
    return thresholds, scores, torch.stack([maps[i] for i in range(len(files))])


def test_a_cycle_of_each_stage(domains, tmp_path):
    source, target = domains
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(build_segmentor("tiny", CLASSES + 1, dropout=0.0))
        train(networks[-1], source, [], None, 60)
    assert min(accuracy(network, target) for network in networks) > 0.6

    thresholds, scores, maps = label(networks[0], target, tmp_path / "self")
    chosen = rank_images(scores, "confidence")[:3]
    train(networks[0], source, [(target[i][0], maps[i]) for i in chosen], thresholds, 20)

    labelled = [label(network, target, tmp_path / str(i)) for i, network in enumerate(networks)]
    fused = fuse_labels(labelled[0][2], labelled[1][2], VOID)
    branches = [
        Branch.of(scores, thresholds, maps, 20)
        for (thresholds, scores, _), maps in zip(labelled, fused, strict=True)
    ]
    for receiver, giver in ((0, 1), (1, 0)):
        ranking = rank_for_partner(
            branches[giver], branches[receiver], "by_confidence_difference_between_branches"
        )
        taken = share([], ranking, 4, "cotraining")
        assert taken and all(who == "partner" for who, _ in taken)
        received = [(target[i][0], fused[giver][i]) for _, i in taken]
        train(networks[receiver], source, received, branches[receiver].thresholds, 20)

    images = torch.stack([image for image, _ in target]) / 255
    with torch.no_grad():
        logits = [network.full_size_logits(images) for network in networks]
    final = final_labels(logits, [branch.thresholds for branch in branches])
    truth = torch.stack([labels for _, labels in target])
    kept = final != VOID
    assert kept.float().mean() > 0.3 and (final == truth)[kept].float().mean() > 0.8
