"""Predicting scenes: sizes, cameras, what is missing, files, and going on."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import pixel_intrinsics
from nolabel.labels import CITYSCAPES_19, SSC_16, space_map
from nolabel.methods.scenedino.camera_of_image import camera_of_image
from nolabel.methods.scenedino.network_files import save_scenedino
from nolabel.methods.scenedino.network_scenes import NetworkScenes
from nolabel.methods.scenedino.predict import ScenePredictor, SceneSettings
from nolabel.methods.scenedino.predict_files import predict_to_folder
from nolabel.methods.scenedino.scene_prediction import RenderedView, ScenePrediction
from nolabel.methods.scenedino.voxel_box import VoxelBox
from nolabel.metrics.completion import ssc_field_of_view, ssc_prediction_labels, ssc_voxel_centres
from nolabel.models.features.vit_maps import VitConfig
from nolabel.models.rendering import FieldSample
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig

SIZE = (24, 80)
CONFIG = {
    "vit": VitConfig(width=64, depth=4, grid=(3, 10), taps=(0, 1, 2)),
    "target": None,
    "channels": 20,
    "reassembled": (4, 4, 6, 8),
    "decoded": 8,
    "compact": 5,
    "hidden": 12,
    "expansion_hidden": 10,
    "head": HeadConfig(code=7, clusters=21, classes=19),
}
BOX = VoxelBox(reach=12.8, cell=0.8, bottom=-1.6, top=1.6)
MATRIX = torch.tensor([[0.8, 0.0, 0.0], [0.0, 2.9, 0.3], [0.0, 0.0, 1.0]])


def network_of(matched: bool = True, **changes) -> SceneDino:
    torch.manual_seed(3)
    network = SceneDino(SceneDinoConfig(**(CONFIG | changes))).eval()
    if matched and network.semantic_head is not None:
        for clusters in (network.semantic_head.code_clusters, network.semantic_head.direct_clusters):
            clusters.classes.copy_(clusters.classes.flip(0))
    return network


@pytest.fixture(scope="module")
def network():
    return network_of()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))


def matrix_of(height: int, width: int) -> torch.Tensor:
    return pixel_intrinsics(MATRIX, height, width)


def test_a_prediction_is_what_the_evaluations_see(network, image):
    matrix = matrix_of(*SIZE)
    scene = ScenePredictor(network, SceneSettings(features="expanded", voxels=BOX)).predict(image, matrix)
    bytes_of = (image * 255).round() / 255  # networks see images of bytes
    scenes = NetworkScenes(network)
    seen = scenes.view(bytes_of, matrix, features=True)
    rays = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(80.0), indexing="ij"), dim=-1)
    x = (rays[..., 1] - matrix[0, 2]) / matrix[0, 0]
    y = (rays[..., 0] - matrix[1, 2]) / matrix[1, 1]
    along_z = seen.distance / (x**2 + y**2 + 1).sqrt()
    torch.testing.assert_close(scene.depth, along_z, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scene.features, seen.features, rtol=1e-3, atol=1e-4)
    assert (scene.classes.labels == seen.classes["stego_cluster"]).float().mean() > 0.99
    assert scene.classes.space == CITYSCAPES_19 and scene.notes == ()
    sure = scene.classes.confidence
    assert float(sure.min()) >= 0 and float(sure.max()) <= 1
    inside = scene.voxels.classes != 255
    volume = scenes.volume(bytes_of, matrix, BOX.centres(), inside)
    labels = ssc_prediction_labels(volume.classes[None], volume.density[None])[0]
    assert inside.any() and (scene.voxels.classes[inside] == labels[inside]).float().mean() > 0.99
    assert scene.voxels.space == SSC_16 and scene.voxels.classes.shape == (16, 16, 4)


def test_the_default_box_is_that_of_sscbench():
    box = VoxelBox()
    torch.testing.assert_close(box.centres().double(), ssc_voxel_centres(), atol=2e-5, rtol=0)
    matrix = torch.tensor([[552.554261, 0, 682.049453], [0, 552.554261, 238.769549], [0, 0, 1]])
    seen = box.seen(box.centres(), matrix.double(), (376, 1408))
    assert (seen != ssc_field_of_view()).sum() < 20  # rounding at the very edge
    own = VoxelBox(placement="camera", reach=4, cell=1, bottom=-1, top=1)
    assert own.centres()[0, 0, 0].tolist() == [
        1.5,
        0.5,
        0.5,
    ]  # left, below, ahead: x right, y down, z forward
    with pytest.raises(ValueError, match="no cells"):
        VoxelBox(top=-3.0)
    with pytest.raises(ValueError, match="more than"):
        VoxelBox(cell=0.01)


class BoxOnAPlane:
    """A field with a box from 4 to 6 m ahead, 2 m wide and high, on a floor 1.5 m below the camera."""

    def query(self, points, *, features=True, colour=False):
        x, y, z = points.unbind(-1)
        floor = y > 1.5
        box = (x.abs() < 1) & (y > -0.5) & (y < 1.5) & (z > 4) & (z < 6)
        kinds = torch.stack([floor, box, ~(floor | box)], dim=-1).float()
        return FieldSample(50.0 * (floor | box), kinds if features else None)


def test_exact_voxels_of_a_box_on_a_plane(monkeypatch, network, image):
    road, car = 0, 13
    box = VoxelBox(placement="camera", reach=8, cell=0.5, bottom=-2.0, top=1.0)
    predictor = ScenePredictor(network, SceneSettings(voxels=box, grow=False, features="none"))
    predictor._head = lambda kinds: torch.where(kinds[:, 1] > 0, car, road)
    painter = type("None", (), {"basis": None})()
    matrix = torch.tensor([[20.0, 0, 39.5], [0, 8.0, 11.5], [0, 0, 1]])  # a very wide view
    voxels, density, surface = predictor._volume(BoxOnAPlane(), image, matrix, painter)
    expected = torch.zeros(16, 16, 6, dtype=torch.long)
    expected[:, :, 0] = SSC_16.index("road")
    expected[8:12, 6:10, 1:5] = SSC_16.index("car")
    seen = voxels.classes != 255
    assert seen.float().mean() > 0.5 and torch.equal(voxels.classes[seen], expected[seen])
    assert float(density.max()) == 50.0
    shown = voxels.classes[tuple(surface.cells.T)]
    assert set(shown.tolist()) == {SSC_16.index("road"), SSC_16.index("car")}
    assert surface.pixels.shape == (len(shown), 3) and surface.colours is None


@pytest.mark.parametrize("size", [(24, 80), (37, 91), (96, 60)])
def test_any_size(network, size):
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    scene = ScenePredictor(network, SceneSettings(voxels=BOX)).predict(image, matrix_of(*size))
    assert scene.size == size and scene.classes.size == size and scene.features.shape == (5, 24, 80)
    assert scene.view.depth.shape == (24, 80) and bool(scene.depth.isfinite().all())
    torch.testing.assert_close(scene.view.intrinsics.float(), matrix_of(24, 80))  # the camera follows
    assert any("crop" in note for note in scene.notes) == (size == (96, 60))


def test_the_same_image_gives_the_same_bytes(network, image, tmp_path):
    predictor = ScenePredictor(network, SceneSettings(voxels=BOX))
    first, second = (predictor.predict(image, 90).save(tmp_path / name, "x") for name in "ab")
    assert len(first) == len(second) > 12
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    small = ScenePredictor(network, SceneSettings(voxels=BOX, chunk=999)).predict(image, 90)
    torch.testing.assert_close(small.depth, predictor.predict(image, 90).depth, rtol=1e-4, atol=1e-3)


def test_cameras():
    size = (100, 200)
    matrix, note = camera_of_image(90, size)
    assert note is None and float(matrix[0, 0]) == pytest.approx(100) and float(matrix[0, 2]) == 99.5
    four, _ = camera_of_image((100, 110, 99, 49), size)
    assert four.tolist() == [[100, 0, 99], [0, 110, 49], [0, 0, 1]]
    assert torch.equal(camera_of_image(four.numpy(), size)[0], four)
    guess, note = camera_of_image(None, size)
    assert "guess" in note and float(guess[0, 0]) == pytest.approx(100 / np.tan(np.radians(35)))
    bad = [
        (170, "between"),
        ((1, 2, 3), "shape"),
        ("nowhere.yaml", "cannot read"),
        ((float("nan"), 100, 99, 49), "no pinhole"),
        ((-100, 100, 99, 49), "no pinhole"),
        ((100, 100, 99, 4900), "does not belong"),
        (MATRIX, "does not belong"),  # normalised
        ({"fx": 100, "fy": 100}, "lacks cx, cy"),
        (["a", "b"], "no camera"),
    ]
    for given, message in bad:
        with pytest.raises(DataError, match=message):
            camera_of_image(given, size)


def test_images_that_are_none(network):
    predictor = ScenePredictor(network, SceneSettings(voxels=None))
    with pytest.raises(DataError, match="not in"):
        predictor.predict(torch.full((3, 24, 80), float("nan")), 90)
    with pytest.raises(DataError, match="shape"):
        predictor.predict(torch.zeros(5), 90)
    with pytest.warns(UserWarning, match="guess"):
        scene = predictor.predict(torch.zeros(3, 24, 80))
    assert scene.voxels is None and "guess" in scene.notes[0]
    with pytest.raises(ConfigError, match="multiple"):
        ScenePredictor(network, SceneSettings(size=(25, 80)))


def test_without_a_head_or_without_names(image):
    bare = ScenePredictor(network_of(head=None), SceneSettings(voxels=BOX)).predict(image, 90)
    assert bare.classes is None and any("no semantic head" in note for note in bare.notes)
    assert bare.voxels.space.names == ("empty", "matter")
    with pytest.raises(ConfigError, match="no semantic head"):
        bare.save("nowhere", "x", ["labels"])
    numbered = ScenePredictor(network_of(matched=False), SceneSettings(voxels=BOX)).predict(image, 90)
    assert any("never matched" in note for note in numbered.notes)
    assert numbered.classes.space.name == "pseudo_19" and numbered.voxels.space.names[:2] == (
        "empty",
        "cluster_0",
    )
    probe = ScenePredictor(network_of(matched=False), SceneSettings(mode="direct_linear", voxels=None))
    assert probe.space == CITYSCAPES_19 and int(space_map(CITYSCAPES_19, SSC_16)[10]) == 0


def test_points_lie_on_what_was_rendered():
    depth = torch.full((4, 6), 5.0)
    depth[:, 3:] = 50.0
    matrix = torch.tensor([[3.0, 0, 2.5], [0, 3.0, 1.5], [0, 0, 1]], dtype=torch.float64)
    view = RenderedView(torch.rand(3, 4, 6), matrix, depth)
    camera = VoxelBox(placement="camera").camera_to_grid()
    cloud = ScenePrediction(torch.rand(3, 4, 6), matrix, depth, view, camera).points(farthest=20.0)
    assert len(cloud.points) == 8  # two of six columns lie at the edge, two are too far
    assert set(cloud.points[:, 0].tolist()) == {5.0}
    torch.testing.assert_close(
        cloud.points[0, 1:],
        torch.tensor([2.5, 2.5], dtype=torch.float64) * 5 / 3 * torch.tensor([1.0, 0.6], dtype=torch.float64),
    )


def test_a_folder_is_gone_on_with(network, image, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        pixels = (image.roll(number, -1).permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes(b"no image")
    (tmp_path / "calibration.yaml").write_text("fx: 40\nfy: 40\ncx: 39.5\ncy: 11.5\nbaseline: 0.5\n")
    predictor = ScenePredictor(network, SceneSettings(voxels=BOX))
    calls = []
    plain = predictor.predict

    def counted(picture, matrix=None, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(picture, matrix, **more)

    monkeypatch.setattr(predictor, "predict", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_to_folder(predictor, [photos], out, progress=False)
    summary = predict_to_folder(predictor, [photos], out, progress=False)
    assert len(calls) == 4 and summary.count == 3 and [name for name, _ in summary.failed] == ["broken"]
    assert summary.written["page"] == 3 and summary.written["gallery"] == 1
    expected = {
        "0_depth.png",
        "0_semantic.png",
        "0_features.png",
        "0_sheet.png",
        "0_above.png",
        "0_voxels.npz",
    }
    assert expected | {"0.html", "index.html", "predictions.json"} <= {path.name for path in out.iterdir()}
    record = json.loads((out / "0_scene.json").read_text())
    assert record["intrinsics"][0] == [40, 0, 39.5] and record["notes"] == []
    depth = np.asarray(Image.open(out / "0_depth.png"))
    scene = plain(photos / "0.png", (40, 40, 39.5, 11.5))
    np.testing.assert_allclose(depth / 256, scene.depth.numpy(), atol=1 / 500)
    with pytest.raises(ConfigError, match="other settings"):
        predict_to_folder(predictor, [photos], out, intrinsics=90, progress=False)


def test_api_and_command(network, image, tmp_path):
    save_scenedino(network, tmp_path / "run" / "model.safetensors")
    model = nolabel.load("scenedino", tmp_path / "run", device="cpu", voxels={"reach": 12.8, "cell": 0.8})
    scene = model(image, intrinsics=90)
    assert scene.depth.shape == SIZE and scene.voxels.classes.shape == (16, 16, 8)
    two = model([image, image.flip(-1)], intrinsics=90)
    assert len(two) == 2 and two[1].basis is two[0].basis
    Image.fromarray((image.permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "street.png")
    command = ["scenedino", "predict", str(tmp_path / "run"), str(tmp_path / "street.png"), "--device", "cpu"]
    options = ["--camera", "40,40,39.5,11.5", "--save", "depth,ply,glb,sscbench", "--set", "voxels.cell=0.8"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {
        "street_depth.png",
        "street_points.ply",
        "street_mesh.ply",
        "street.glb",
        "street_1_1.npy",
    } <= names
    assert np.load(tmp_path / "out" / "sscbench" / "street_1_1.npy").shape == (64, 64, 8)
