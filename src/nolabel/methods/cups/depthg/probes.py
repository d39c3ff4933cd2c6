"""What is learnt on top of the codes, and how codes are scored where labels exist (spec cups_pseudo 11.2, 11.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nolabel.data import CityscapesPanoptic
from nolabel.data.labelled import LabelledDataset
from nolabel.labels import VOID
from nolabel.methods.cups.depthg.crops import CropDataset, central_square
from nolabel.metrics import SemanticQuality
from nolabel.models.clusters import balanced_spherical_kmeans
from nolabel.models.dense_crf import crf_image, dense_crf
from nolabel.models.features import CodeNetwork, FeatureExtractor, SceneGeometry
from nolabel.models.features.depthg import ClusterProbe, SegmentationHead

__all__ = ["SemanticHeads", "kmeans_clusters", "linear_loss", "score_semantics"]

VALIDATION_SIDE = 320  # pixels
SHARPNESS = 2.0  # of the cluster cosines in the softmax
RESTARTS, ITERATIONS = 5, 50

GeometryOf = Callable[[str], "SceneGeometry | None"]


class SemanticHeads(nn.Module):
    """Everything that is trained: head, cluster probe and, where labels are given, a linear probe.

    Args:
        head: makes codes of features.
        probe: the clusters.
        num_classes: of the labels; None without labels.
        dim: code length.
    """

    def __init__(
        self, head: SegmentationHead, probe: ClusterProbe, num_classes: int | None, dim: int
    ) -> None:
        super().__init__()
        self.head, self.probe = head, probe
        self.linear = None if num_classes is None else nn.Conv2d(dim, num_classes, 1)

    def forward(
        self, features: Tensor, positive: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return what the losses need; the probes learn on codes without teaching the head.

        Args:
            features: (B, E, h, w) of the crops.
            positive: (B, E, h, w) of their positives.

        Returns:
            Codes (B, D, h, w) of both, cluster loss (), cluster of each cell (B, h, w), class logits (B, C, h, w).
        """
        code, other = self.head(features), self.head(positive)
        fixed = code.detach()
        loss, assigned = self.probe.loss(fixed)
        logits = None if self.linear is None else self.linear(fixed)
        return code, other, loss, assigned.argmax(dim=1), logits


def linear_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of (B, C, h, w) and labels (B, h, w), 255 = void; zero where nothing is labelled."""
    total = F.cross_entropy(logits, label, ignore_index=VOID, reduction="sum")
    return total / (label != VOID).sum().clamp(min=1)


@torch.no_grad()
def kmeans_clusters(
    codes_of: Callable[[int], Tensor],
    dataset: CropDataset,
    num_clusters: int,
    generator: torch.Generator,
    balance: float,
    *,
    crops: int = 300,
    samples: int = 200,
) -> Tensor:
    """Cluster the codes of randomly drawn cells of randomly drawn crops.

    Args:
        codes_of: gives the codes (D, h, w) of a crop.
        dataset: the crops.
        num_clusters: K.
        generator: source of all draws.
        balance: see :func:`~nolabel.models.clusters.balanced_spherical_kmeans`.
        crops: how many crops are read.
        samples: cells of each.

    Returns:
        (K, D) unit centres.
    """
    chosen = torch.randperm(len(dataset), generator=generator)[:crops].tolist()
    parts = []
    for index in chosen:
        codes = codes_of(index).flatten(1).T.cpu()
        parts.append(codes[torch.randint(len(codes), (samples,), generator=generator)])
    points = F.normalize(torch.cat(parts), dim=1)
    return balanced_spherical_kmeans(points, num_clusters, generator, balance, RESTARTS, ITERATIONS)


@torch.inference_mode()
def score_semantics(
    network: CodeNetwork,
    linear: nn.Module | None,
    labelled: LabelledDataset | CityscapesPanoptic,
    device: torch.device | str,
    *,
    geometry_of: GeometryOf | None = None,
    crf: bool = False,
) -> dict[str, float]:
    """Score clusters, matched one-to-one with classes, and the linear probe on the central squares of images.

    Args:
        network: gives codes and cluster log-probabilities.
        linear: gives class logits of codes; None leaves its scores out.
        labelled: held-out images with labels.
        device: where the network runs.
        geometry_of: stereo geometry of a sample by its name, for features that use it.
        crf: refine log-probabilities with the dense CRF.
    """
    clusters = len(network.probe.clusters)
    metrics = {"": SemanticQuality(labelled.space, clusters, matching="one_to_one")}
    if linear is not None:
        metrics["linear_"] = SemanticQuality(labelled.space)
    for index in range(len(labelled)):
        sample = labelled[index]
        image = sample["image"].as_subclass(Tensor).to(device)[None]
        target = central_square(
            sample["semantic"].as_subclass(Tensor)[None, None].float(), VALIDATION_SIDE, "nearest"
        )
        square = central_square(image, VALIDATION_SIDE)
        geometry = None if geometry_of is None else geometry_of(sample["name"])
        code = _code_of_square(network, image, square, geometry)
        scores = {"": network.probe.log_probabilities(code, SHARPNESS)}
        if linear is not None:
            scores["linear_"] = linear(code).log_softmax(dim=1)
        for name, metric in metrics.items():
            found = dense_crf(scores[name][0], crf_image(square[0]))[None] if crf else scores[name]
            metric.update(found.argmax(dim=1).cpu(), target[:, 0].long())
    results: dict[str, float] = {}
    for name, metric in metrics.items():
        values = metric.compute()
        results |= {f"{name}miou": values.miou, f"{name}accuracy": values.accuracy}
    return results


def _code_of_square(
    network: FeatureExtractor, image: Tensor, square: Tensor, geometry: SceneGeometry | None
) -> Tensor:
    """Codes (1, D, 320, 320) of an image's central square."""
    if network.uses_windows:
        return F.interpolate(network(square), size=square.shape[-2:], mode="bilinear", align_corners=False)
    whole = F.interpolate(
        network(image, geometry), size=image.shape[-2:], mode="bilinear", align_corners=False
    )
    return central_square(whole, VALIDATION_SIDE)
