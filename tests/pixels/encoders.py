"""Ways to store one and the same picture or mask, by the writers of Pillow, tifffile and imagecodecs."""

from __future__ import annotations

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

COMPRESSIONS = (None, "zlib", "lzw", "packbits", "zstd")


def tiff_options(random, array, photometric):
    """A byte order, compression, predictor, and strips or tiles."""
    options = {"byteorder": str(random.choice(["<", ">"])), "photometric": photometric}
    options["compression"] = COMPRESSIONS[random.randint(len(COMPRESSIONS))]
    if options["compression"] in ("zlib", "lzw", "zstd") and array.dtype.kind == "u" and random.rand() < 0.5:
        options["predictor"] = True
    layout = random.randint(3)
    if layout == 1:
        options["tile"] = (16, 32)
    elif layout == 2:
        options["rowsperstrip"] = int(random.randint(1, array.shape[0] + 1))
    if random.rand() < 0.2:
        options["bigtiff"] = True
    return options


def write_tiff(path, array, random, photometric="minisblack", **options):
    path = path.with_suffix(random.choice([".tif", ".tiff", ".TIF"]))
    tifffile.imwrite(path, array, **tiff_options(random, array, photometric), **options)
    return path


def write_deep_png(path, array):
    path = path.with_suffix(".png")
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(array)))
    return path


def write_pillow(path, array, suffix, **options):
    path = path.with_suffix(suffix)
    Image.fromarray(np.ascontiguousarray(array)).save(path, **options)
    return path


def palette_picture(indices, colours):
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    return picture


def shuffled_palette(random, colours, values):
    """A picture of `values` (places in `colours`) whose palette lists the colours in another order."""
    order = random.permutation(len(colours))
    return palette_picture(np.argsort(order)[values], np.asarray(colours)[order])


# Images: grey [H, W] or colours [H, W, 3] of 8 bits are stored so that they come back as they are.


def grey_encoders(random, path, grey):
    deep = grey.astype(np.uint16) * 257
    opaque = np.full_like(grey, 255)
    colour_map = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    planes = {"photometric": "minisblack", "planarconfig": str(random.choice(["contig", "separate"]))}
    stack = [grey, opaque]
    stack = np.stack(stack, -1 if planes["planarconfig"] == "contig" else 0)
    return {
        "PNG": lambda: write_pillow(path, grey, ".png"),
        "BMP": lambda: write_pillow(path, grey, ".bmp"),
        "PNG, grey and opaque": lambda: write_pillow(path, np.dstack([grey, opaque]), ".png"),
        "PNG, palette": lambda: shuffled_palette(random, np.repeat(np.arange(256), 3).reshape(-1, 3), grey).save(
            path.with_suffix(".png")
        ),
        "PNG, 16 bits": lambda: write_deep_png(path, deep),
        "PNG, 16 bits and opaque": lambda: write_deep_png(path, np.dstack([deep, np.full_like(deep, 65535)])),
        "TIFF": lambda: write_tiff(path, grey, random),
        "TIFF, 16 bits": lambda: write_tiff(path, deep, random),
        "TIFF, 32 bits": lambda: write_tiff(path, deep.astype(np.uint32), random),
        "TIFF, from white": lambda: write_tiff(path, 255 - grey, random, "miniswhite"),
        "TIFF, 16 bits from white": lambda: write_tiff(path, 65535 - deep, random, "miniswhite"),
        "TIFF, palette": lambda: write_tiff(path, grey, random, "palette", colormap=colour_map),
        "TIFF, grey and opaque": lambda: tifffile.imwrite(
            path.with_suffix(".tif"), stack, extrasamples=["unassalpha"], **planes
        ),
        "TIFF of Pillow": lambda: write_pillow(path, grey, ".tif", compression=random.choice(["raw", "tiff_lzw"])),
    }


def colour_encoders(random, path, colours):
    deep = colours.astype(np.uint16) * 257
    opaque = np.full_like(colours[..., :1], 255)
    planes = np.moveaxis(colours, -1, 0)
    return {
        "PNG": lambda: write_pillow(path, colours, ".png"),
        "BMP": lambda: write_pillow(path, colours, ".bmp"),
        "PNG, opaque": lambda: write_pillow(path, np.dstack([colours, opaque]), ".png"),
        "PNG, 16 bits": lambda: write_deep_png(path, deep),
        "PNG, 16 bits and opaque": lambda: write_deep_png(path, np.dstack([deep, opaque.astype(np.uint16) * 257])),
        "TIFF": lambda: write_tiff(path, colours, random, "rgb"),
        "TIFF, opaque": lambda: write_tiff(
            path, np.dstack([colours, opaque]), random, "rgb", extrasamples=["assocalpha"]
        ),
        "TIFF, 16 bits": lambda: write_tiff(path, deep, random, "rgb"),
        "TIFF, planes": lambda: tifffile.imwrite(
            path.with_suffix(".tif"),
            planes,
            photometric="rgb",
            planarconfig="separate",
            compression=COMPRESSIONS[random.randint(5)],
        ),
        "TIFF, planes of 16 bits": lambda: tifffile.imwrite(
            path.with_suffix(".tif"), planes.astype(np.uint16) * 257, photometric="rgb", planarconfig="separate"
        ),
    }


# Masks of two classes; "training" tells which of them training reads without `prepare`.


def two_class_encoders(random, path, mask):
    white = mask.astype(np.uint8) * 255
    ones = mask.astype(np.uint8)
    colour_map = np.zeros((3, 256), np.uint16)
    colour_map[0, 1] = 65535
    left = mask.copy()
    left[:, mask.shape[1] // 2 :] = False
    pages = np.stack([left, mask & ~left]) if not mask.all() else np.stack([mask, mask])
    kind = random.choice([1, 255])
    return {
        "PNG, 0 and 255": lambda: write_pillow(path, white, ".png"),
        "PNG, 0 and 1": lambda: write_pillow(path, ones, ".png"),
        "PNG, 1 bit": lambda: write_pillow(path, mask, ".png"),
        "PNG, palette of black and red": lambda: palette_picture(ones, [[0] * 3, [255, 0, 0]]).save(
            path.with_suffix(".png")
        ),
        "PNG, grey and opaque": lambda: write_pillow(path, np.dstack([white, np.full_like(white, 255)]), ".png"),
        "PNG, what is not white is transparent": lambda: write_pillow(path, np.dstack([white] * 4), ".png"),
        "PNG, equal colours": lambda: write_pillow(path, np.dstack([white] * 3), ".png"),
        "PNG, 16 bits": lambda: write_deep_png(path, white.astype(np.uint16) * 257),
        "PNG, 16 bits, 0 and 1": lambda: write_deep_png(path, ones.astype(np.uint16)),
        "PNG, 16-bit colours": lambda: write_deep_png(path, np.dstack([white.astype(np.uint16) * 257] * 3)),
        "BMP": lambda: write_pillow(path, white, ".bmp"),
        "BMP, 1 bit": lambda: write_pillow(path, mask, ".bmp"),
        "TIFF": lambda: write_tiff(path, ones * kind, random),
        "TIFF, 16 bits": lambda: write_tiff(path, white.astype(np.uint16) * 257, random),
        "TIFF, 1 bit": lambda: tifffile.imwrite(path.with_suffix(".tif"), mask, photometric="minisblack"),
        "TIFF, 1 bit of Pillow": lambda: write_pillow(path, mask, ".tif", compression="group4"),
        "TIFF, signed": lambda: write_tiff(path, ones.astype(np.int16), random),
        "TIFF, fractions": lambda: write_tiff(path, ones.astype(np.float32), random),
        "TIFF, palette": lambda: write_tiff(path, ones, random, "palette", colormap=colour_map),
        "TIFF, pages": lambda: write_tiff(path, (pages * kind).astype(np.uint8), random),
        **({"TIFF, from white": lambda: write_tiff(path, 255 - white, random, "miniswhite")} if not mask.all() else {}),
    }


COLOURS = [[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]]


def index_encoders(random, path, labels):
    """Masks of class indices below 5, by the same palette where there is one."""
    colour_map = np.zeros((3, 256), np.uint16)
    colour_map[:, :5] = np.asarray(COLOURS).T * 257
    return {
        "PNG": lambda: write_pillow(path, labels, ".png"),
        "PNG, 4 bits": lambda: write_pillow(path, labels, ".png", bits=4),
        "PNG, palette": lambda: palette_picture(labels, COLOURS).save(path.with_suffix(".png")),
        "PNG, palette with a transparent background": lambda: palette_picture(labels, COLOURS).save(
            path.with_suffix(".png"), transparency=0
        ),
        "PNG, 16 bits": lambda: write_deep_png(path, labels.astype(np.uint16)),
        "PNG, equal colours": lambda: write_pillow(path, np.dstack([labels] * 3), ".png"),
        "BMP, palette": lambda: palette_picture(labels, COLOURS).save(path.with_suffix(".bmp")),
        "TIFF": lambda: write_tiff(path, labels, random),
        "TIFF, 16 bits": lambda: write_tiff(path, labels.astype(np.uint16), random),
        "TIFF, 32 bits": lambda: write_tiff(path, labels.astype(np.int32), random),
        "TIFF, fractions": lambda: write_tiff(path, labels.astype(np.float64), random),
        "TIFF, palette": lambda: write_tiff(path, labels, random, "palette", colormap=colour_map),
        "TIFF, pages": lambda: write_tiff(
            path, np.stack([np.where(labels % 2 == part, labels, 0) for part in (0, 1)]), random
        ),
    }


def doubtful_encoders(random, path, mask):
    """Masks of two classes whose foreground a reader may easily take for background, or lose."""
    ones = mask.astype(np.uint8)
    white, opaque = ones * 255, np.full_like(ones, 255)
    reversed_greys = np.tile(np.arange(255, -1, -1, dtype=np.uint16) * 257, (3, 1))
    palettes = {
        "white first": ([[255] * 3, [0] * 3], ones),
        "red first": ([[255, 0, 0], [0] * 3], 1 - ones),
        "white background": ([[255] * 3, [255, 0, 0]], ones),
        "turned over": ([[255] * 3, [0] * 3], 1 - ones),
    }
    return {
        **{
            f"PNG, palette, {name}": lambda colours=colours, values=values: palette_picture(values, colours).save(
                path.with_suffix(".png")
            )
            for name, (colours, values) in palettes.items()
        },
        "TIFF, palette of falling greys": lambda: write_tiff(path, ones, random, "palette", colormap=reversed_greys),
        "TIFF, indices from white": lambda: write_tiff(path, ones, random, "miniswhite"),
        "TIFF, 1 bit as tifffile writes it": lambda: tifffile.imwrite(path.with_suffix(".tif"), mask),
        "PNG, only transparency": lambda: write_pillow(path, np.dstack([opaque, white]), ".png"),
        "PNG, only transparency, black": lambda: write_pillow(path, np.dstack([white * 0, white]), ".png"),
        "PNG, black on nothing": lambda: write_pillow(path, np.dstack([255 - white, white]), ".png"),
        "PNG, half transparent": lambda: write_pillow(path, np.dstack([white] * 3 + [white // 2]), ".png"),
        "PNG, undecided": lambda: write_pillow(path, np.where(random.rand(*mask.shape) < 0.1, 255, ones), ".png"),
    }
