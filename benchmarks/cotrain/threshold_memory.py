"""Peak memory of the threshold stage for a whole cycle: 500 images of 1024x2048, read one by one from disk.

    python -m benchmarks.cotrain.threshold_memory [--images 500] [--folder /tmp/predictions] [--check]

Writes 5.2 GB of synthetic predictions first, measures thresholds, pseudo-labels and scores in a process of their own,
and with ``--check`` finds the same elements by partitioning every class's confidences at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.cotrain.rows import NUM_LABELS, predictions
from benchmarks.cups.measure import peak_bytes
from nolabel.engine.segmentation_inference import Prediction
from nolabel.methods.cotraining.prediction_files import PredictionFiles
from nolabel.methods.cotraining.pseudo_labels import label_images
from nolabel.methods.cotraining.thresholds import class_thresholds

PORTION = 0.5


def stage(files: PredictionFiles) -> torch.Tensor:
    """Run the stage and say what it took."""
    torch.set_num_threads(1)
    before, start, wall = peak_bytes("cpu"), time.process_time(), time.perf_counter()
    limits = class_thresholds(files, NUM_LABELS, PORTION)
    counted = []
    scores = label_images(files, len(files), limits, lambda _, kept: counted.append(int(kept.sum())))
    seconds, passed = time.process_time() - start, time.perf_counter() - wall
    print(f"{len(scores)} images: {seconds:.1f} CPU s, {passed:.1f} s", end=", ")
    print(f"peak RSS {peak_bytes('cpu') / 1e9:.2f} GB ({before / 1e9:.2f} GB before it)", flush=True)
    return limits


def check(files: PredictionFiles, limits: torch.Tensor) -> None:
    """Compare with the element of all confidences of a class, class by class."""
    different = 0
    for label in range(NUM_LABELS):
        parts = [p.confidence[p.labels == label].numpy() for p in files]
        values = np.concatenate(parts)
        expected = 0.5
        if len(values):
            rank = min(round(len(values) * (1 - PORTION)), len(values) - 1)
            expected = min(max(float(np.partition(values, rank)[rank]), 0.5), 0.9)
        different += expected != float(limits[label])
    print(f"thresholds that differ from the sorted ones: {different} of {NUM_LABELS}")


def main() -> None:
    """Write, measure, check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = PredictionFiles(Path(folder), [f"{index:04d}" for index in range(options.images)])
        drawn = predictions(8, tuple(options.size), "cpu")
        for index, name in enumerate(files.names):  # every image is another one, but not drawn anew
            labels, confidence = drawn[index % len(drawn)]
            files.write(name, Prediction(labels.roll(index, 1), confidence.roll(-index, 0)))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            limits = pool.apply(stage, (files,))
        if options.check:
            check(files, limits)


if __name__ == "__main__":
    main()
