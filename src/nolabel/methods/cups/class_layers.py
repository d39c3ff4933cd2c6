"""From clusters to classes: a network for a named label space out of one for clusters.

Only three layers know about clusters: the semantic predictor, the box classifiers and the mask predictor. A class
inherits the rows of the clusters that stand for it; everything else is taken over as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nolabel.labels import LabelSpace
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig

__all__ = ["clusters_of_classes", "for_classes", "rows_of_groups"]

Groups = list[list[int]]
SEMANTIC, BOXES, MASKS = (
    "sem_seg_head.predictor.",
    "roi_heads.box_predictor.",
    "roi_heads.mask_head.predictor.",
)


def clusters_of_classes(
    alignment: Sequence[int] | None, num_stuff: int, space: LabelSpace
) -> tuple[Groups, Groups]:
    """Return which clusters stand for each stuff class and for each thing class.

    Args:
        alignment: class of every cluster, stuff clusters first; None: no cluster stands for anything.
        num_stuff: how many of the clusters are stuff.
        space: the classes.

    Returns:
        For every stuff class its stuff clusters (counted from 0), for every thing class its thing clusters (from 0).
    """
    labels = list(alignment or ())
    stuff, things = labels[:num_stuff], labels[num_stuff:]
    return (
        [[cluster for cluster, label in enumerate(stuff) if label == target] for target in space.stuff],
        [[cluster for cluster, label in enumerate(things) if label == target] for target in space.things],
    )


def rows_of_groups(fresh: Tensor, rows: Tensor, groups: Groups) -> Tensor:
    """Return (C, ...): row i is the mean of ``rows[groups[i]]``, or ``fresh[i]`` where the group is empty."""
    members = torch.zeros(len(groups), len(rows), dtype=rows.dtype)
    for index, group in enumerate(groups):
        members[index, group] = 1
    counts = members.sum(dim=1, keepdim=True)
    mean = ((members / counts.clamp(min=1)) @ rows.reshape(len(rows), -1)).view_as(fresh)
    return torch.where((counts > 0).view(-1, *[1] * (fresh.ndim - 1)), mean, fresh)


def for_classes(
    network: PanopticCascadeMaskRCNN,
    config: PanopticConfig,
    stuff: Groups,
    things: Groups,
    *,
    seed: int,
) -> PanopticCascadeMaskRCNN:
    """Return a network for classes that starts from one for clusters.

    Args:
        network: the network for clusters; it stays as it is.
        config: thresholds and the like of the new network; its numbers of things and stuff follow the groups.
        stuff, things: the clusters behind every class, see :func:`clusters_of_classes`. Classes without any begin
            with random rows, except that masks, which look alike for all classes, begin as the mean of all clusters.
        seed: of the random rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = PanopticCascadeMaskRCNN(replace(config, num_stuff=len(stuff), num_things=len(things)))
    before, fresh = network.state_dict(), made.state_dict()
    every = list(range(network.config.num_things))
    # Channel 0 of the semantics is "some thing"; the last class of the boxes is the background.
    semantic = [[0], *([1 + cluster for cluster in group] for group in stuff)]
    boxes = [*things, [network.config.num_things]]
    masks = [group or every for group in things]
    state = {}
    for name, value in before.items():
        if name.startswith(SEMANTIC):
            state[name] = rows_of_groups(fresh[name], value, semantic)
        elif name.startswith(BOXES) and ".cls_score." in name:
            state[name] = rows_of_groups(fresh[name], value, boxes)
        elif name.startswith(MASKS) and not config.cascade.class_agnostic_masks:
            state[name] = rows_of_groups(fresh[name], value, masks)
        else:
            state[name] = value
    made.load_state_dict(state)
    return made
