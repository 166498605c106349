"""Outlines of masks, as CVAT and QuPath exchange them, and masks of outlines."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import ellipse, polygon
from skimage.measure import approximate_polygon, find_contours

from custom.errors import InputError
from custom.wording import shown

__all__ = ["asap_xml", "colour_of", "outline", "read_asap_xml", "select_pieces"]

_TOLERANCE = 0.35  # pixels that a simplified outline may differ; more loses pixels
_MOST_TEXT = 100_000_000  # characters of XML


def outline(mask: NDArray[np.integer], names: Mapping[str, int], smallest: float = 0) -> list[dict[str, Any]]:
    """The outlines of all pieces of a mask, class by class.

    Points are multiples of half a pixel, and the first pixel reaches from 0 to 1. A pixel belongs to a piece if its
    centre is inside. Holes have no outline, so that a piece counts as filled.

    >>> import numpy as np
    >>> from custom.monai_label.outlines import outline
    >>> mask = np.zeros((6, 6), np.uint8)
    >>> mask[1:4, 2:5] = 1
    >>> [(element["label"], len(element["contours"])) for element in outline(mask, {"polyp": 1})]
    [('polyp', 1)]
    >>> outline(mask, {"polyp": 1}, smallest=10)
    []

    Args:
        mask: class indices [H, W].
        names: class index by name; other classes go by their numbers.
        smallest: outlines around fewer square pixels are left out.

    Returns:
        For each class "label", its name, and "contours", a list of lists of points [x, y].
    """
    by_index = {index: name for name, index in names.items()}
    elements = []
    for index in sorted({*np.unique(mask).tolist()} - {0}):
        filled = np.pad(ndimage.binary_fill_holes(mask == index), 1).astype(float)
        contours = []
        for contour in find_contours(filled, 0.5, fully_connected="high"):
            points = approximate_polygon(contour, _TOLERANCE)[:-1, ::-1] - 0.5  # the margin is one pixel
            if len(points) >= 3 and _area(points) >= smallest:
                contours.append(points.tolist())
        if contours:
            elements.append({"label": by_index.get(index, str(index)), "contours": contours})
    return elements


def _area(points: NDArray[np.floating]) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def select_pieces(
    mask: NDArray[np.integer], wanted: list[list[int]], unwanted: list[list[int]], box: list[int] | None = None
) -> NDArray[np.integer]:
    """The pieces of a mask that a user points at.

    Without `wanted`, all pieces but those with a point of `unwanted`. A point of `wanted` beside all pieces stands for
    the nearest one.

    >>> import numpy as np
    >>> from custom.monai_label.outlines import select_pieces
    >>> select_pieces(np.array([[1, 0, 0, 2]]), wanted=[[1, 0]], unwanted=[]).tolist()
    [[1, 0, 0, 0]]

    Args:
        mask: class indices [H, W].
        wanted: points (x, y).
        unwanted: points (x, y).
        box: (x, y, x, y) of two corners: nothing outside of it is kept.
    """
    kept = np.array(mask)
    if box is not None:
        (left, right), (top, bottom) = sorted(box[::2]), sorted(box[1::2])
        inside = np.zeros(kept.shape, bool)
        inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
        kept[~inside] = 0
    pieces, count = ndimage.label(kept, np.ones((3, 3)))
    if not count:
        return kept
    if wanted:
        nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
        at = [tuple(nearest[(slice(None), *_pixel(point, kept.shape))]) for point in wanted]
        kept[~np.isin(pieces, [pieces[pixel] for pixel in at])] = 0
    hit = {int(pieces[_pixel(point, kept.shape)]) for point in unwanted} - {0}
    kept[np.isin(pieces, list(hit))] = 0
    return kept


def _pixel(point: list[int], shape: tuple[int, ...]) -> tuple[int, int]:
    return min(max(point[1], 0), shape[0] - 1), min(max(point[0], 0), shape[1] - 1)


def colour_of(name: str) -> list[int]:
    """A colour for a class, the same each time: red, green and blue in 0 to 255.

    >>> from custom.monai_label.outlines import colour_of
    >>> colour_of("polyp") == colour_of("polyp"), len(colour_of("polyp"))
    (True, 3)
    """
    hue = sum(map(ord, name)) * 0.618 % 1
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 1)]


def asap_xml(elements: list[dict[str, Any]], model: str) -> str:
    """Outlines as ASAP annotations, the XML that QuPath's extension for MONAI Label reads.

    >>> from custom.monai_label.outlines import asap_xml
    >>> square = {"label": "polyp", "contours": [[[0, 0], [4, 0], [4, 4]]]}
    >>> '<Coordinate Order="1" X="4" Y="0" />' in asap_xml([square], "model")
    True

    Args:
        elements: as `outline` returns them.
        model: name of the model.
    """
    root = ElementTree.Element("ASAP_Annotations")
    box = {"X": "0", "Y": "0", "W": "0", "H": "0"}
    annotations = ElementTree.SubElement(root, "Annotations", Name=model, Description="", Model=model, **box)
    groups = ElementTree.SubElement(root, "AnnotationGroups")
    for element in elements:
        name = element["label"]
        colour = "#{:02x}{:02x}{:02x}".format(*colour_of(name))
        for contour in element["contours"]:
            shape = {"Name": name, "Type": "Polygon", "PartOfGroup": name, "Color": colour}
            coordinates = ElementTree.SubElement(
                ElementTree.SubElement(annotations, "Annotation", shape), "Coordinates"
            )
            for order, (x, y) in enumerate(contour):
                ElementTree.SubElement(coordinates, "Coordinate", Order=str(order), X=str(x), Y=str(y))
        ElementTree.SubElement(groups, "Group", Name=name, PartOfGroup="None", Color=colour)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode")


def read_asap_xml(path: Path, size: tuple[int, int], names: Mapping[str, int]) -> NDArray[np.uint8]:
    """The mask of ASAP annotations: outlines are filled, larger ones first, so that those within them stay.

    Args:
        path: the XML file.
        size: (width, height) of the image.
        names: class index by name; names are compared without regard to case.

    Returns:
        Class indices [H, W].

    Raises:
        InputError: no XML in UTF-8, a document type, no outline, an unknown class, or an outline that is broken.
    """
    indices = {name.casefold(): index for name, index in names.items()}
    mask = np.zeros((size[1], size[0]), np.uint8)
    shapes = []
    for annotation in _parse(path).iter("Annotation"):
        name = annotation.get("PartOfGroup") or annotation.get("Name") or ""
        if name.casefold() not in indices:
            raise InputError(f"there is no class {shown(name)}; classes are: {', '.join(names)}")
        points = np.array([*_points(annotation)])
        if len(points) < 3:
            raise InputError(f"an outline of {shown(name)} has {len(points)} points; draw areas, with 3 points or more")
        x, y = points.T
        if annotation.get("Type") == "Ellipse" and len(points) == 4:  # its box, or where it touches that
            middle, radii = (points.max(axis=0) + points.min(axis=0)) / 2, np.ptp(points, axis=0) / 2
            pixels = ellipse(middle[1] - 0.5, middle[0] - 0.5, radii[1], radii[0], mask.shape)
        else:
            pixels = polygon(y - 0.5, x - 0.5, mask.shape)
        shapes.append((_area(points), indices[name.casefold()], pixels))
    if not shapes:
        raise InputError("it holds no annotation; draw one and give it a class")
    for _, index, pixels in sorted(shapes, key=lambda shape: -shape[0]):
        mask[pixels] = index
    return mask


def _parse(path: Path) -> ElementTree.Element:
    """The root of the XML. It is read as text, so that it names no other encoding and no document type hides in one."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if len(text) > _MOST_TEXT or "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError("it holds a document type, or too much; send the annotations alone")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("it is no XML in UTF-8; send ASAP annotations as QuPath does") from error


def _points(annotation: ElementTree.Element) -> Iterator[tuple[float, float]]:
    for coordinate in annotation.iter("Coordinate"):
        try:
            point = float(coordinate.get("X", "")), float(coordinate.get("Y", ""))
        except ValueError:
            point = (math.nan, math.nan)
        if not all(abs(value) < 1e9 for value in point):
            raise InputError("a Coordinate holds no numbers X and Y; send pixels of the image")
        yield point
