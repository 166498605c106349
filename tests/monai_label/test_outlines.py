from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import ndimage

from custom.errors import InputError
from custom.monai_label.outlines import asap_xml, outline, read_asap_xml, select_pieces

NAMES = {"background": 0, "polyp <&>": 1, "tool": 2}


def blobs(seed):
    """A mask [40, 60] of two classes, one inside the other, without holes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 60)), 3)
    outer = ndimage.binary_fill_holes(noise > np.quantile(noise, 0.7))
    return outer.astype(np.uint8) + (outer & (noise > np.quantile(noise, 0.9)))


def read(text, tmp_path, size=(60, 40), names=NAMES):
    file = tmp_path / "label.xml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_asap_xml(file, size, names)


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_is_the_same_after_its_way_through_outlines(seed, tmp_path):
    mask = blobs(seed)
    np.testing.assert_array_equal(read(asap_xml(outline(mask, NAMES), "model"), tmp_path), mask)


def test_names_of_classes_reach_the_file():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:4, 1:4], mask[5:8, 5:8] = 1, 7
    root = ElementTree.fromstring(asap_xml(outline(mask, NAMES), "model"))
    assert [each.get("Name") for each in root.iter("Annotation")] == ["polyp <&>", "7"]
    assert [each.get("Name") for each in root.iter("Group")] == ["polyp <&>", "7"]


def test_small_pieces_and_holes_are_left_out():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:12, 2:12] = 1
    mask[5:8, 5:8] = 0
    mask[15, 15] = 1
    (element,) = outline(mask, NAMES, smallest=5)
    assert len(element["contours"]) == 1
    assert outline(np.zeros((5, 5), np.uint8), NAMES) == []


def qupath(*shapes):
    """XML as QuPath's extension writes it: class, type and whole-numbered points of each annotation."""
    text = '<?xml version="1.0" encoding="UTF-8" standalone="no"?><ASAP_Annotations>'
    text += '<Annotations Description="" H="0" Name="" W="0" X="0" Y="0">'
    for name, kind, points in shapes:
        text += f'<Annotation Color="#ff0000" Name="{name}" PartOfGroup="{name}" Type="{kind}"><Coordinates>'
        text += "".join(f'<Coordinate Order="{order}" X="{x}" Y="{y}"/>' for order, (x, y) in enumerate(points))
        text += "</Coordinates></Annotation>"
    return text + "</Annotations><AnnotationGroups/></ASAP_Annotations>"


BOX = [(10, 5), (30, 5), (30, 15), (10, 15)]


def test_a_rectangle_covers_the_pixels_within_its_corners(tmp_path):
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 10:30] = 2
    np.testing.assert_array_equal(read(qupath(("Tool", "Rectangle", BOX)), tmp_path), expected)


def test_an_ellipse_is_that_within_its_box(tmp_path):
    mask = read(qupath(("tool", "Ellipse", BOX)), tmp_path)
    assert mask.sum() / 2 == pytest.approx(np.pi * 10 * 5, rel=0.05)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 14, 10, 29)


def test_the_smaller_outline_is_drawn_over_the_larger_one_whatever_their_order(tmp_path):
    inner = [(12, 7), (20, 7), (20, 12), (12, 12)]
    shapes = [("tool", "Polygon", inner), ("polyp &lt;&amp;&gt;", "Polygon", BOX)]
    first, second = (read(qupath(*order), tmp_path) for order in (shapes, shapes[::-1]))
    np.testing.assert_array_equal(first, second)
    assert np.bincount(first.ravel())[1:].tolist() == [160, 40]


def test_what_lies_outside_of_the_image_is_cut(tmp_path):
    mask = read(qupath(("tool", "Polygon", [(-1e8, -1e8), (1e8, -1e8), (1e8, 1e8), (-1e8, 1e8)])), tmp_path)
    assert (mask == 2).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no XML"),
        (b"\xff\xfe<\0a\0/\0>\0", "no XML"),
        ("<a", "no XML"),
        ("<a/>", "no annotation"),
        (qupath(("liver", "Polygon", BOX)), "no class liver; classes are: background, polyp <&>, tool"),
        (qupath(("tool", "Polyline", BOX[:2])), "3 points or more"),
        (qupath(("tool", "Polygon", [(1, 1), ("nan", 2), (3, 3)])), "no numbers"),
        (qupath(("tool", "Polygon", [(1, 1), ("__import__('os')", 2), (3, 3)])), "no numbers"),
        ('<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>', "document type"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        ('<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"), "no XML"),
    ],
)
def test_other_xml_is_refused_in_one_line(text, words, tmp_path):
    with pytest.raises(InputError) as error:
        read(text, tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


TWO = np.array([[1, 1, 0, 0, 0, 2], [1, 1, 0, 0, 0, 2]], np.uint8)


@pytest.mark.parametrize(
    ("wanted", "unwanted", "box", "kept"),
    [
        ([], [], None, {1, 2}),
        ([[0, 1]], [], None, {1}),
        ([[4, 0]], [], None, {2}),  # beside a piece: the nearest
        ([[0, 0], [5, 1]], [], None, {1, 2}),
        ([], [[5, 0]], None, {1}),
        ([], [[3, 0]], None, {1, 2}),
        ([[0, 0]], [[1, 1]], None, set()),
        ([], [], [0, 0, 3, 2], {1}),
        ([], [], [6, 2, 4, 0], {2}),
        ([[999, -999]], [], None, {2}),
    ],
)
def test_points_and_a_box_choose_pieces(wanted, unwanted, box, kept):
    found = select_pieces(TWO, wanted, unwanted, box)
    assert set(np.unique(found).tolist()) - {0} == kept
    assert TWO.sum() == 8
