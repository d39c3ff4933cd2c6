"""Ablation switches change what they should and nothing else; estimates, empty shards, and runs that are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import nolabel
from methods.cups.test_pseudo_labels import CONFIG, FRAMES, label_bytes, run, write_video
from nolabel.config import load_config
from nolabel.methods.cups.motion_source import load_motion
from nolabel.methods.cups.pseudo_label_config import MotionConfig, PseudoLabelConfig
from nolabel.methods.cups.pseudo_labels import estimate_pseudo_labels
from nolabel.methods.cups.semantics import semantic_log_probabilities, single_log_probabilities
from nolabel.methods.cups.statistics import load_statistics, read_labels
from nolabel.models.features import build_features
from nolabel.models.features.extractor import FeatureExtractor
from nolabel.models.motion import RaftMotion, build_motion
from nolabel.models.motion.raft import large_network

FRAME = "001"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("video")
    write_video(root)
    return root


@pytest.fixture(scope="module")
def labels(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(video, tmp_path_factory.mktemp("labels")).out


def maps(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    semantic, instance = (read_labels(folder / f"{FRAME}_{kind}.png") for kind in ("semantic", "instance"))
    return semantic, instance


def switched(video: Path, out: Path, **sections: object) -> Path:
    values = CONFIG.model_dump()
    for name, value in sections.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return run(video, out, load_config(PseudoLabelConfig, **values)).out


def test_alignment_off_leaves_the_semantic_map_alone(video: Path, labels: Path, tmp_path: Path) -> None:
    semantic, instance = maps(labels)
    loose, same = maps(switched(video, tmp_path, align=False))
    assert np.array_equal(instance, same) and instance.any()
    assert np.array_equal(semantic[instance == 0], loose[instance == 0])
    for i in range(1, instance.max() + 1):
        inside = loose[instance == i]
        assert (semantic[instance == i] == np.bincount(inside).argmax()).all()
    assert any(len(np.unique(loose[instance == i])) > 1 for i in range(1, instance.max() + 1))


def test_vanilla_se3_changes_objects_only(video: Path, labels: Path, tmp_path: Path) -> None:
    semantic, instance = maps(switched(video, tmp_path, proposals={"variant": "vanilla"}, align=False))
    published_semantic, published_instance = maps(switched(video, tmp_path / "ours", align=False))
    assert np.array_equal(semantic, published_semantic)
    assert not np.array_equal(instance, published_instance)


def test_semantics_from_the_image_alone_keep_the_objects(video: Path, labels: Path, tmp_path: Path) -> None:
    semantic, instance = maps(labels)
    alone, same = maps(switched(video, tmp_path, semantics={"depth_guided": False}))
    assert np.array_equal(instance, same)
    assert not np.array_equal(semantic, alone)


class CountingFeatures(FeatureExtractor):
    """Mean colours of 8-pixel cells; remembers the sizes it was given."""

    stride, channels = 8, 3

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, geometry: object = None) -> Tensor:
        self.sizes.append(tuple(images.shape[-2:]))
        return torch.nn.functional.avg_pool2d(images, 8)


class Colours:
    """Colours as classes."""

    def project(self, features: Tensor) -> Tensor:
        return features

    def log_probabilities(self, code: Tensor) -> Tensor:
        return code.log_softmax(1)


def test_vanilla_semantics_are_one_pass_at_one_scale() -> None:
    image = torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0))
    depth = torch.full((1, 64, 128), 10.0)
    features = CountingFeatures()
    single = semantic_log_probabilities(image, features, Colours(), depth=depth, depth_guided=False)
    assert features.sizes == [(320, 640)]
    assert torch.equal(single, single_log_probabilities(image, features, Colours()))
    near = semantic_log_probabilities(image, features, Colours(), depth=0.1 * depth)
    far = semantic_log_probabilities(image, features, Colours(), depth=depth)
    assert not torch.equal(near, far)


def test_raft_large_is_torchvisions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = large_network()
    path = tmp_path / "raft_large_C_T_SKHT_V2.pth"
    torch.save(network.state_dict(), path)
    estimator = load_motion(MotionConfig(name="raft_large", weights=path, updates=2), "cpu")
    assert isinstance(estimator, RaftMotion)
    assert sum(p.numel() for p in estimator.parameters()) == 5_257_536
    images = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.eval()(2 * images[0] - 1, 2 * images[1] - 1, num_flow_updates=2)[-1]
    torch.testing.assert_close(estimator.flow(images[0], images[1]), expected, rtol=1e-4, atol=1e-3)
    with pytest.raises(nolabel.errors.WeightsError, match="raft_smurf"):
        build_motion("raft_smurf", network.state_dict())


def test_descriptors_without_stereo_see_no_geometry() -> None:
    extractor = build_features("descriptors")
    image = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    assert not extractor(image)[:, -6:].any()


def test_estimate_counts_without_labelling(video: Path, tmp_path: Path) -> None:
    forecast = estimate_pseudo_labels(video, tmp_path, CONFIG, device="cpu", progress=False)
    assert (forecast.items, forecast.left) == (FRAMES - 1, FRAMES - 1)
    assert forecast.seconds_per_item > 0 and forecast.bytes_per_item > 100
    assert not list(tmp_path.glob("*.png"))
    summary = run(video, tmp_path)  # the clusters of the estimate are the run's
    size = sum(path.stat().st_size for path in tmp_path.glob("*.png")) / (FRAMES - 1)
    assert forecast.bytes_per_item == pytest.approx(size, rel=0.5)
    assert summary.labelling.done == FRAMES - 1
    after = estimate_pseudo_labels(video, tmp_path, CONFIG, device="cpu", progress=False)
    assert after.left == 0


def test_more_shards_than_images(video: Path, labels: Path, tmp_path: Path) -> None:
    done = [run(video, tmp_path, shard=f"{i}/7").labelling.done for i in range(1, 8)]
    assert sum(done) == FRAMES - 1 and max(done) == 1
    assert label_bytes(tmp_path) == label_bytes(labels)
    assert torch.equal(load_statistics(tmp_path).all_pixels, load_statistics(labels).all_pixels)


def test_statistics_after_a_kill_are_those_of_one_run(video: Path, labels: Path, tmp_path: Path) -> None:
    source = Path(nolabel.__file__).parents[1]
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from methods.cups.test_pseudo_labels import run\n"
        "run(Path(sys.argv[3]), Path(sys.argv[4]))\n"
    )
    arguments = [str(source), str(Path(__file__).parents[2]), str(video), str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    records = tmp_path / "out" / ".labelling" / "items"
    deadline = time.monotonic() + 120
    while not list(records.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(records.glob("*.json")), "the run wrote nothing before it was killed"
    run(video, tmp_path / "out")
    for name in ("all_pixels", "inside_proposals", "per_proposal"):
        counted, expected = (getattr(load_statistics(place), name) for place in (tmp_path / "out", labels))
        assert torch.equal(counted, expected)
    assert label_bytes(tmp_path / "out") == label_bytes(labels)
