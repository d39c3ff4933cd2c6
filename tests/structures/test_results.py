"""Semantic maps, flow and voxel scenes: validation, pictures, files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19, SSC_16
from nolabel.structures import Flow, LabelledSample, SemanticMap, VoxelScene


def labels(height: int = 6, width: int = 8) -> torch.Tensor:
    values = torch.randint(0, 19, (height, width), generator=torch.Generator().manual_seed(0))
    values[0, 0] = 255
    return values


def test_semantic_map_takes_numpy_and_torch() -> None:
    for value in (labels(), labels().numpy().astype(np.uint8), labels().int(), labels().tolist()):
        stored = SemanticMap(value, CITYSCAPES_19).labels
        assert stored.dtype == torch.long and torch.equal(stored, labels())


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.zeros(1, 4, 4, dtype=torch.long), r"expected shape \(H, W\), got \(1, 4, 4\)"),
        (torch.zeros(4, 4), "expected integers, got float32"),
        (torch.full((4, 4), 19), r"expected labels 0..18 or 255 of 'cityscapes_19', found \[19\]"),
        (torch.full((4, 4), -1), r"found \[-1\]"),
        ("street", "expected an array or a tensor of numbers, got str"),
    ],
)
def test_semantic_map_says_what_is_wrong(value: object, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        SemanticMap(value, CITYSCAPES_19)  # type: ignore[arg-type]


def test_a_result_does_not_change_with_the_array_it_came_from() -> None:
    array = labels().numpy()
    result = SemanticMap(array, CITYSCAPES_19)  # type: ignore[arg-type]
    array[:] = 0
    assert torch.equal(result.labels, labels())


def test_semantic_png_holds_labels_and_shows_colours(tmp_path: Path) -> None:
    result = SemanticMap(labels(), CITYSCAPES_19)
    (path,) = result.save(tmp_path / "deep" / "street")
    assert path == tmp_path / "deep" / "street_semantic.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        assert torch.equal(torch.from_numpy(np.array(image)).long(), labels())
        assert np.array_equal(np.asarray(image.convert("RGB")), result.colours())
    again = result.save(tmp_path, "street")[0]
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("given", ["street", "street.png", "street.v2"])
def test_stems(tmp_path: Path, given: str) -> None:
    stem = {"street.png": "street"}.get(given, given)
    assert SemanticMap(labels(), CITYSCAPES_19).save(tmp_path / given)[0].name == f"{stem}_semantic.png"


def test_overlay_leaves_void_pixels_and_mixes_the_rest() -> None:
    result, image = SemanticMap(labels(), CITYSCAPES_19), torch.full((3, 6, 8), 0.4)
    picture = result.overlay(image, alpha=0.5)
    assert picture[0, 0].tolist() == [102, 102, 102]
    assert np.allclose(picture[1, 1], (102 + result.colours()[1, 1].astype(float)) / 2, atol=0.51)
    assert np.array_equal(picture, result.overlay(Image.new("RGB", (8, 6), (102, 102, 102)), alpha=0.5))
    with pytest.raises(DataError, match=r"expected the size of the result \(6, 8\), got \(8, 6\)"):
        result.overlay(torch.zeros(3, 8, 6))
    with pytest.raises(DataError, match="alpha must be in 0"):
        result.overlay(image, alpha=2)


def test_flow_png_round_trip(tmp_path: Path) -> None:
    flow = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1)) * 40
    flow[0, 1, 2], flow[1, 3, 4] = torch.nan, 600.0  # unknown; beyond the format
    back = Flow.load(Flow(flow).save(tmp_path, "a")[0])
    lost = torch.zeros(5, 7, dtype=torch.bool)
    lost[1, 2] = lost[3, 4] = True
    assert torch.equal(back.known, ~lost)
    assert float((back.flow - flow)[:, ~lost].abs().max()) <= 0.5 / 64


def test_flow_checks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected shape \(2, H, W\), got \(3, 4, 4\)"):
        Flow(torch.zeros(3, 4, 4))
    with pytest.raises(DataError, match=r"valid: expected shape \(4, 5\), got \(5, 4\)"):
        Flow(torch.zeros(2, 4, 5), torch.ones(5, 4, dtype=torch.bool))
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="not a flow file"):
        Flow.load(tmp_path / "x.png")


def test_flow_colours() -> None:
    flow = torch.zeros(2, 2, 3)
    flow[0, 0, 0], flow[0, 0, 1], flow[1, 1, 0] = 5, -5, torch.nan
    picture = Flow(flow).colours()
    assert picture.shape == (2, 3, 3) and picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 0, 0] and picture[0, 1].tolist() == [0, 255, 255]  # right, left
    assert picture[0, 2].tolist() == [255, 255, 255] and picture[1, 0].tolist() == [0, 0, 0]  # still, unknown


def scene() -> VoxelScene:
    classes = torch.zeros(4, 3, 2, dtype=torch.long)
    classes[0, 0, 0], classes[0, 0, 1] = SSC_16.index("road"), SSC_16.index("car")
    classes[3, 2, 0], classes[2, 2, 1] = SSC_16.index("building"), 255
    return VoxelScene(classes, torch.tensor([0.0, -1.0, -2.0]), 0.5, SSC_16)


def test_voxels_from_above_show_the_top_with_ahead_up() -> None:
    picture = scene().colours()
    assert picture.shape == (4, 3, 3)
    assert picture[3, 2].tolist() == list(SSC_16.classes[SSC_16.index("car")].colour)
    assert picture[0, 0].tolist() == list(SSC_16.classes[SSC_16.index("building")].colour)
    assert int((picture.sum(-1) > 0).sum()) == 2


def test_voxel_files(tmp_path: Path) -> None:
    array, cloud = scene().save(tmp_path, "a")
    with np.load(array) as content:
        assert np.array_equal(content["classes"], scene().classes.numpy()) and content["voxel_size"] == 0.5
    header, _, body = cloud.read_bytes().partition(b"end_header\n")
    assert b"element vertex 3" in header and len(body) == 3 * 15
    first = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))[0]
    assert first["xyz"].tolist() == [0.25, -0.75, -1.75]
    with pytest.raises(DataError, match="voxel_size"):
        VoxelScene(scene().classes, torch.zeros(3), 0.0, SSC_16)
    with pytest.raises(DataError, match=r"origin: expected shape \(3\)|origin: expected shape \(3,?\)"):
        VoxelScene(scene().classes, torch.zeros(2), 0.2, SSC_16)


def test_joint_transforms_walk_samples() -> None:
    image, semantic = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(2)), labels()
    sample = LabelledSample(
        name="a",
        image=tv_tensors.Image(image),
        semantic=tv_tensors.Mask(semantic),
        instance=tv_tensors.Mask(semantic),
    )
    flipped = v2.RandomHorizontalFlip(p=1.0)(sample)
    assert flipped["name"] == "a" and torch.equal(flipped["image"].as_subclass(torch.Tensor), image.flip(-1))
    assert torch.equal(flipped["semantic"].as_subclass(torch.Tensor), semantic.flip(-1))
