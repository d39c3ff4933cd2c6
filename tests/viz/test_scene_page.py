"""The interactive page of a scene, in a real browser."""

import base64
import io
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from browser import missing_browser, open_browser
from nolabel.labels import SSC_16
from nolabel.structures.voxel_mesh import exposed_voxels, openness
from nolabel.viz.scene_page import PageLayer, scene_page

ROAD, CAR = SSC_16.index("road"), SSC_16.index("car")


def street() -> list[PageLayer]:
    """A red car on a road, and points in the plane of the road."""
    classes = np.zeros((40, 30, 10), np.int64)
    classes[:, :, 0] = ROAD
    classes[16:24, 10:20, 1:6] = CAR
    occupied = classes > 0
    cells = np.argwhere(exposed_voxels(occupied))
    labels = classes[tuple(cells.T)]
    red = np.where(labels[:, None] == CAR, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    points = np.argwhere(np.ones((40, 30, 1))) * 0.2 + [0.0, -3.0, -1.5]
    green = np.tile(np.array([[0, 255, 0]], np.uint8), (len(points), 1))
    return [
        PageLayer(
            "voxels",
            cells,
            labels,
            {"image": red},
            (0.0, -3.0, -2.0),
            0.2,
            openness(occupied)[tuple(cells.T)],
        ),
        PageLayer("points", points, np.full(len(points), ROAD), {"image": green}, shown=False),
    ]


def header_of(page: bytes) -> dict:
    found = re.search(rb'<script type="application/json" id="scene">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_holds_the_scene_and_nothing_from_elsewhere():
    page = scene_page("a <street>", street(), SSC_16, corners=np.ones((4, 3)), notes=["a guess"])
    assert page == scene_page("a <street>", street(), SSC_16, corners=np.ones((4, 3)), notes=["a guess"])
    text = page.decode()
    assert "a &lt;street&gt;" in text and "a guess" in text
    assert not re.search(r"https?://|@import|<script[^>]* src|<link[^>]*stylesheet", text)
    header = header_of(page)
    assert [layer["kind"] for layer in header["layers"]] == ["voxels", "points", "lines"]
    assert [mode["name"] for mode in header["colours"]] == ["classes", "image", "height"]
    assert [entry["name"] for entry in header["classes"]] == ["road", "car"]
    data = re.search(rb'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    block = zlib.decompress(base64.b64decode(data.group(1)))
    voxels, points, _ = header["layers"]
    start, size = voxels["places"]
    cells = np.frombuffer(block[start : start + size], "<u2").reshape(-1, 3)
    assert (cells == street()[0].places).all() and voxels["offset"] == [0.0, -3.0, -2.0]
    start, size = points["places"]
    found = np.frombuffer(block[start : start + size], "<u2").reshape(-1, 3)
    np.testing.assert_allclose(
        np.array(points["offset"]) + found * points["scale"], street()[1].places, atol=1e-3
    )


def test_an_empty_scene_has_a_page():
    header = header_of(scene_page("nothing", [], SSC_16))
    assert header["layers"] == [] and header["classes"] == []


def share_of(picture: bytes, colour: tuple[int, int, int], tolerance: int = 60) -> float:
    """Share of pixels right of the panel that are of about a hue (shading changes the brightness)."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(float)[:, 320:]
    length = np.linalg.norm(pixels, axis=-1).clip(1)
    wanted = np.array(colour) / np.linalg.norm(colour)
    angle = np.degrees(np.arccos((pixels @ wanted / length).clip(-1, 1)))
    return float(((angle < tolerance / 6) & (length > 60)).mean())


@pytest.mark.slow
@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_the_page_in_a_browser(tmp_path):
    page = tmp_path / "scene.html"
    page.write_bytes(scene_page("street", street(), SSC_16, corners=np.ones((4, 3))))
    with open_browser(tmp_path / "profile") as browser:

        def settled() -> bytes:
            """A screenshot once nothing more is to be drawn."""
            browser.run(
                "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            return browser.screenshot()

        browser.open(page)
        assert browser.wait("return document.documentElement.dataset.state") == "ready"
        classes = settled()
        car, road = (tuple(int(c) for c in SSC_16.palette[label]) for label in (CAR, ROAD))
        assert share_of(classes, car) > 0.001 and share_of(classes, road) > 0.05
        browser.click("#colours button:nth-child(2)")
        image = settled()
        assert share_of(image, (255, 0, 0)) > 0.004 and share_of(image, (0, 0, 255)) > 0.05
        browser.click(f"input[name=class-{CAR}]")
        assert share_of(settled(), (255, 0, 0)) < 0.0005
        browser.click(f"input[name=class-{CAR}]")
        browser.run(
            "const cut = document.getElementById('cut'); cut.value = cut.min;"
            "cut.dispatchEvent(new Event('input'))"
        )
        assert share_of(settled(), (255, 0, 0)) < 0.001  # the car stands above the road
        browser.run(
            "const cut = document.getElementById('cut'); cut.value = cut.max;"
            "cut.dispatchEvent(new Event('input'))"
        )
        before = browser.run("return document.documentElement.dataset.eye")
        browser.drag((700, 400), (120, 40))
        settled()
        turned = browser.run("return document.documentElement.dataset.eye")
        browser.wheel((700, 400), -300)
        settled()
        nearer = browser.run("return document.documentElement.dataset.eye")
        assert len({before, turned, nearer}) == 3
        browser.click("#layers button:nth-child(1)")  # no voxels ...
        browser.click("#layers button:nth-child(2)")  # ... but points
        points = settled()
        assert share_of(points, (0, 255, 0)) > 0.005 and share_of(points, (0, 0, 255)) < 0.001
        assert browser.errors() == []
