"""Small slides in files: pyramids of tiles, as scanners and viewers write them."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from scipy.ndimage import zoom
from tifffile import TiffWriter


def tissue(width, height, seed=0):
    """Smooth blobs of colour [height, width, 3], on which networks differ from place to place."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 20 + 2, width // 20 + 2, 3))
    return zoom(coarse.astype(np.float32), (20, 20, 1), order=1)[:height, :width].clip(0, 255).astype(np.uint8)


def shrunk(values, factor):
    """The mean of blocks of `factor` x `factor` pixels."""
    height, width = (side // factor for side in values.shape[:2])
    blocks = values[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    return blocks.mean(axis=(1, 3)).astype(values.dtype).squeeze()


def write_slide(path, values, microns=0.5, levels=(1, 2, 4), aperio=False, tile=128, **settings):
    """A pyramid of tiles; with `aperio` as an Aperio scanner describes it. `microns` None: no resolution is stated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {"resolution": (1e4 / microns, 1e4 / microns), "resolutionunit": "CENTIMETER"} if microns else {}
    height, width = values.shape[:2]
    with TiffWriter(path, bigtiff=False) as writer:
        for factor in levels:
            description = f"Aperio Image Library v1\r\n{width}x{height} (128x128) JPEG|AppMag = 20|MPP = {microns}"
            writer.write(
                shrunk(values, factor),
                tile=(tile, tile),
                compression=settings.get("compression", "zlib"),
                photometric="rgb" if values.ndim == 3 else "minisblack",
                description=description if aperio else None,
                subfiletype=0 if aperio else int(factor > 1),
                metadata=None,
                **stated,
            )
    return path


def write_hamamatsu(path, values, microns=0.5, levels=(1, 2, 4), tile=128):
    """Colours as Hamamatsu's scanners lay out `.ndpi`: a JPEG for each level, with restart markers that make tiles of
    `tile` x 8 pixels of it, and directories with 64-bit offsets. The width of each level is a multiple of `tile`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content, pointer = bytearray(b"II*\0" + bytes(8)), 4

    def put(data):
        content.extend(bytes(-len(content) % 8))
        content.extend(data)
        return len(content) - len(data)

    pages = [(shrunk(values, factor), 20 / factor, microns * factor) for factor in levels]
    pages.append((np.full((60, 200, 3), 255, np.uint8), -1.0, 100))  # a photograph of the glass
    for colours, lens, side in pages:
        jpeg, starts = _jpeg_of_tiles(colours, tile)
        height, width = colours.shape[:2]
        resolution = put(struct.pack("<2I", round(1e7 / side), 1000))
        image, bits, make = put(jpeg), put(struct.pack("<3H", 8, 8, 8)), put(b"Hamamatsu\0")
        tags = [(254, 4, 1, 0), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 7)]
        tags += [(262, 3, 1, 6), (271, 2, 10, make), (273, 4, 1, image), (277, 3, 1, 3), (278, 4, 1, height)]
        tags += [(279, 4, 1, len(jpeg)), (282, 5, 1, resolution), (283, 5, 1, resolution), (284, 3, 1, 1)]
        tags += [(296, 3, 1, 3), (65420, 4, 1, 1), (65421, 11, 1, struct.unpack("<I", struct.pack("<f", lens))[0])]
        if lens > 0:
            tags.append((65426, 4, len(starts), put(struct.pack(f"<{len(starts)}I", *starts))))
        # the offset of the next directory and the high halves of all values, which are zero, follow
        packed = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        directory = put(struct.pack("<H", len(tags)) + packed + bytes(8 + 4 * len(tags)))
        content[pointer : pointer + 8] = struct.pack("<Q", directory)
        pointer = directory + 2 + len(packed)
    path.write_bytes(content)
    return path


def _jpeg_of_tiles(colours, tile):
    """A JPEG file, and where in it the tiles begin."""
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "jpeg", quality=95, subsampling=0, restart_marker_blocks=tile // 8)
    jpeg = np.frombuffer(file.getvalue(), np.uint8)
    scan = file.getvalue().index(b"\xff\xda") + 2
    first = scan + int.from_bytes(jpeg[scan : scan + 2].tobytes(), "big")
    markers = (jpeg[first:-1] == 0xFF) & (jpeg[first + 1 :] >= 0xD0) & (jpeg[first + 1 :] <= 0xD7)
    return file.getvalue(), [first, *(np.flatnonzero(markers) + first + 2).tolist()]


def write_leica(path, values, microns=0.5, levels=(1, 2, 4), corner=(60, 40), tile=128):
    """Colours as Leica's scanners lay out `.scn`: a photograph of the glass and one scanned region. The glass reaches
    `corner` (x, y) pixels beyond the region on all sides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape[:2]
    glass = (width + 2 * corner[0], height + 2 * corner[1])
    photograph = np.full((glass[1] // 8, glass[0] // 8, 3), 128, np.uint8)
    images = [([photograph, shrunk(photograph, 2)], (0, 0), glass)]
    images.append(([shrunk(values, factor) for factor in levels], corner, (width, height)))
    settings = "<objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
    settings += "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
    described, pages = "", []
    for colours, place, size in images:
        dimensions = "".join(
            f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{number}" ifd="{len(pages) + number}"/>'
            for number, level in enumerate(colours)
        )
        pages += colours
        nanometres = [round(pixels * microns * 1000) for pixels in (*size, *place)]
        view = '<view sizeX="{}" sizeY="{}" offsetX="{}" offsetY="{}"/>'.format(*nanometres)
        described += '<image><creationDate>2020-01-01T00:00:00Z</creationDate><device model="SCN400" version="1"/>'
        described += f"<pixels>{dimensions}</pixels>{view}<scanSettings>{settings}</illuminationSettings>"
        described += "</scanSettings></image>"
    sides = 'sizeX="{}" sizeY="{}"'.format(*(round(pixels * microns * 1000) for pixels in glass))
    scheme = "http://www.leica-microsystems.com/scn/2010/10/01"
    xml = f'<?xml version="1.0"?><scn xmlns="{scheme}"><collection {sides}>{described}</collection></scn>'
    with TiffWriter(path, bigtiff=True) as writer:
        for number, colours in enumerate(pages):
            writer.write(
                colours,
                tile=(tile, tile),
                compression="jpeg",
                compressionargs={"level": 95},
                photometric="rgb",
                description=None if number else xml,
                metadata=None,
            )
    return path
