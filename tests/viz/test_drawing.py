"""Overlays, layouts, plots and the report."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.viz import (
    Report,
    bar_plot,
    blend,
    caption,
    contact_sheet,
    contours,
    draw_boxes,
    instance_overlay,
    legend,
    line_plot,
    matrix_plot,
    panoptic_overlay,
    resize,
    semantic_overlay,
    side_by_side,
)

ROAD, CAR, PERSON = 0, 13, 11
GREY = np.full((60, 80, 3), 100, dtype=np.uint8)


def scene():
    semantic, instance = np.full((60, 80), ROAD), np.zeros((60, 80), dtype=int)
    semantic[:10] = 255
    semantic[20:40, 10:30], instance[20:40, 10:30] = CAR, 1
    semantic[20:40, 30:50], instance[20:40, 30:50] = PERSON, 1  # the same id in another class
    return semantic, instance


def test_void_shows_the_image_and_alpha_mixes():
    semantic, _ = scene()
    picture = semantic_overlay(GREY, semantic, CITYSCAPES_19, alpha=0.5)
    np.testing.assert_array_equal(picture[:10], 100)
    np.testing.assert_allclose(picture[50, 50], (np.array([128, 64, 128]) + 100) / 2, atol=1)
    with pytest.raises(DataError, match="do not match"):
        blend(GREY, GREY[:30], 0.5)


def test_contours():
    ids = np.zeros((7, 7), dtype=int)
    ids[2:5, 2:5] = 3
    edge = contours(ids)
    assert not edge[3, 3] and edge[2, 2] and edge[1, 3] and not edge[0, 0]
    assert edge.sum() == 8 + 12


def test_touching_objects_of_two_classes_are_outlined():
    semantic, instance = scene()
    picture = panoptic_overlay(GREY, semantic, instance, CITYSCAPES_19)
    assert (picture[30, 29] == 255).all() and (picture[30, 30] == 255).all()
    assert not (picture[30, 20] == 255).all()
    plain = panoptic_overlay(GREY, semantic, instance, CITYSCAPES_19, outline=False)
    assert not (plain == 255).all(-1).any()
    assert (picture[50, 50] == semantic_overlay(GREY, semantic, CITYSCAPES_19)[50, 50]).all()


def test_names_are_written_inside_the_picture():
    semantic, instance = np.full((200, 300), ROAD), np.zeros((200, 300), dtype=int)
    semantic[50:150, :60], instance[50:150, :60] = PERSON, 4
    image = np.zeros((200, 300, 3), np.uint8)
    named = panoptic_overlay(image, semantic, instance, CITYSCAPES_19, names=True)
    changed = (named != panoptic_overlay(image, semantic, instance, CITYSCAPES_19)).any(-1)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 80 and rows.max() < 120 and columns.max() < 70


def test_numbers_stand_in_place_of_names():
    semantic = np.full((120, 240), 13)
    instance = np.ones((120, 240), np.int64)
    grey = np.full((120, 240, 3), 128, np.uint8)
    plain, seven, eight = (
        panoptic_overlay(grey, semantic, instance * i, CITYSCAPES_19, alpha=0.0, numbers=bool(i))
        for i in (0, 7, 8)
    )
    named = panoptic_overlay(grey, semantic, instance * 7, CITYSCAPES_19, alpha=0.0, names=True)
    assert (plain == 128).all()
    written = [(picture != 128).any(axis=2).sum() for picture in (seven, named)]
    assert 0 < written[0] < written[1] and (seven != eight).any()


def test_instance_overlay_and_boxes():
    _, instance = scene()
    picture = instance_overlay(GREY, instance)
    assert (picture[0, 0] == 100).all() and not (picture[30, 20] == 100).all()
    boxed = draw_boxes(GREY, [[10, 20, 50, 40]], ["car 0.9"], [[255, 0, 0]])
    assert boxed[39, 30].tolist() == [255, 0, 0] and boxed[40, 30].tolist() == [100] * 3
    np.testing.assert_array_equal(draw_boxes(GREY, np.zeros((0, 4))), GREY)


def test_layouts():
    assert resize(GREY, width=40).shape == (30, 40, 3) and resize(GREY, height=120).shape == (120, 160, 3)
    row = side_by_side([GREY, GREY[:30, :40]], ["one", "two, with a caption far too long"], gap=4)
    assert row.shape == (60 + 26, 80 + 4 + 80, 3)
    assert caption(GREY, "text")[:26].min() < 100
    sheet = contact_sheet(
        [[GREY, None], [GREY]], row_titles=["a", "b"], column_titles=["x", "y"], cell_width=40
    )
    assert sheet.shape == (26 + 30 + 8 + 30, 26 + 40 + 8 + 40, 3)
    assert (sheet[26:56, 26:66] == 100).all() and (sheet[26:, 74:] == 255).all()
    with pytest.raises(DataError):
        contact_sheet([[None]])
    with pytest.raises(DataError):
        side_by_side([])


def test_legend_shows_the_classes_present():
    semantic, _ = scene()
    picture = legend(CITYSCAPES_19, semantic, columns=1)
    assert picture.shape[0] == 3 * 26  # road, person, car; void has no entry
    assert picture[13, 13].tolist() == [128, 64, 128]
    assert legend(CITYSCAPES_19, columns=1).shape[0] == 19 * 26
    assert legend(CITYSCAPES_19, [255]).ndim == 3


def test_plots():
    x = np.arange(5)
    picture = line_plot({"a": (x, x), "b": (x, x[::-1])}, title="t", size=(320, 200))
    assert picture.shape == (200, 320, 3) and (picture != 255).any()
    np.testing.assert_array_equal(
        picture, line_plot({"a": (x, x), "b": (x, x[::-1])}, title="t", size=(320, 200))
    )
    assert bar_plot(["car", "road"], {"PQ": [0.5, np.nan]}, size=(320, 200)).shape == (200, 320, 3)


class Balance(HTMLParser):
    """Collects tags and fails on an end tag that closes nothing."""

    EMPTY = ("img", "meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_matrix_plot_frames_the_marked_cells():
    values = np.eye(3, 4)
    plain, framed = (
        matrix_plot(values, ["a", "b", "c"], ["w", "x", "y", "z"], marked=marked)
        for marked in ((), (0, None, 3))
    )
    assert plain.shape == framed.shape and plain.dtype == np.uint8
    red = [((p[..., 0] > 190) & (p[..., 1] < 90) & (p[..., 2] < 60)).sum() for p in (plain, framed)]
    assert red[0] == 0 and red[1] > 50


def test_report_is_one_file_that_loads_nothing(tmp_path):
    report = Report("Title <1>", "Summary & more")
    report.heading("First").paragraph("One.\n\nTwo <b>.").heading("Second").heading("Third").heading(
        "Part", 3
    )
    report.image(GREY, 'A "grey" picture', "png").gallery([GREY, GREY], ["a", "b"])
    report.table(["class", "PQ"], [["car", 0.12345], ["road", float("nan")]], "Scores").code("a < b")
    path = report.save(tmp_path / "new" / "report.html")
    text = path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    parser = Balance()
    parser.feed(text)
    assert not parser.open and parser.seen.count("img") == 4 and parser.seen.count("p") == 3
    for address in parser.addresses:
        assert address.startswith(("data:image/", "#section-"))
    assert not re.search(r"https?://|file:|url\(|@import", text) and str(tmp_path) not in text
    assert text.count('<figure style="width:320px">') == 2
    assert "Title &lt;1&gt;" in text and "0.123" in text and '<td class="number">–</td>' in text
    encoded = re.search(r"data:image/png;base64,([^\"]+)", text).group(1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))), GREY)
    assert report.to_html() == text


def test_failed_report_leaves_the_old_one(tmp_path, monkeypatch):
    path = Report("old").save(tmp_path / "report.html")
    broken = Report("new")
    monkeypatch.setattr(broken, "to_html", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.save(path)
    assert "old" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["report.html"]
