"""Pictures of what annotation viewers get from a MONAI Label server, one for each viewer.

python -m scripts.viewer_pictures --bundle bundles/semigda_busi --output docs

Images are phantoms of breast ultrasound, a stack of slices for viewers of volumes. For 3D Slicer and CVAT the files of
their plugins ask, for QuPath its requests are made; matplotlib draws the answers. OHIF is run itself, in a browser,
where Orthanc and Chromium are installed. Runs in the environment of MONAI Label.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from custom.command_line import BUNDLE, Command, PathTo, run_command
from custom.monai_label.command import add_bundle
from custom.phantoms.dataset import MODALITIES
from scripts.label_server import LabelServer
from scripts.viewer_clients import QUPATH, ask_cvat, outlines_of_asap, slicer_client, slicer_infer

__all__ = ["draw_exchange", "draw_outlines", "draw_segment", "main", "phantom", "phantom_slices"]

SIDE = 224
SLICES = 12
SEEDS = {"slicer": 0, "cvat": 1, "qupath": 2, "ohif": 0}
ORANGE, YELLOW = "#e08a3c", "#f0d000"

Draw = Callable[[Axes], Any]


def phantom(seed: int) -> NDArray[np.uint8]:
    """A picture of breast ultrasound, grey [SIDE, SIDE]."""
    picture, _ = MODALITIES["ultrasound"].draw(SIDE, np.random.default_rng(seed))
    return np.asarray(Image.fromarray(picture).convert("L"))


def phantom_slices(seed: int) -> NDArray[np.int16]:
    """Slices [SLICES, SIDE, SIDE] that show the phantom smaller towards both ends, with values as in CT."""
    grey = phantom(seed).astype(float)
    slices = []
    for number in range(SLICES):
        factor = 1 + 0.05 * abs(number - SLICES // 2)
        matrix, offset = np.eye(2) * factor, (1 - factor) * SIDE / 2
        slices.append(ndimage.affine_transform(grey, matrix, offset, order=1, mode="reflect"))
    return (np.stack(slices) * 4 - 300).round().astype(np.int16)


def draw_segment(axes: Axes, mask: NDArray[np.integer], colour: str) -> None:
    """A label map [H, W] as a half transparent area with its outline."""
    if mask.any():
        axes.contourf(mask > 0, levels=[0.5, 1.5], colors=[colour], alpha=0.45)
        axes.contour(mask > 0, levels=[0.5], colors=[colour], linewidths=1.2)


def draw_outlines(axes: Axes, outlines: Sequence[tuple[str, str, NDArray[np.floating]]]) -> None:
    """Polygons: name, colour and points [N, 2] as (x, y), where the first pixel reaches from 0 to 1."""
    for name, colour, points in outlines:
        x, y = points.T - 0.5  # matplotlib's first pixel reaches from -0.5 to 0.5
        axes.fill(x, y, facecolor=colour, alpha=0.25)
        axes.fill(x, y, facecolor="none", edgecolor=colour, linewidth=1.5)
        axes.annotate(name, (x[y.argmin()], y.min()), (0, 3), textcoords="offset points", color=colour, fontsize=8)


def draw_exchange(image: NDArray, sent: str, answer: str, draw: Draw) -> Figure:
    """Two panels: the image, and the answer drawn over it.

    Args:
        image: grey [H, W].
        sent: title of the image.
        answer: title of the answer.
        draw: draws the answer.
    """
    figure = Figure(figsize=(6.4, 3.5), layout="constrained", dpi=100)
    for axes, title in zip(figure.subplots(1, 2), (sent, answer), strict=True):
        axes.imshow(image, cmap="gray")
        axes.set_axis_off()
        axes.set_title(title, fontsize=9)
    draw(axes)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    return figure


def _slicer(server: LabelServer, model: str, folder: Path) -> Figure:
    slices = phantom_slices(SEEDS["slicer"])
    nibabel.save(nibabel.Nifti1Image(slices.T, np.diag([-1.0, -1, 3, 1])), server.studies / "volume.nii.gz")
    _wait_for_images(server, 1)
    file, _ = slicer_infer(slicer_client(server.url, folder), model, "volume")
    from SimpleITK import GetArrayFromImage, ReadImage

    mask, number = GetArrayFromImage(ReadImage(file)), SLICES // 2
    shown = f"slice {number + 1} of {SLICES}"
    return draw_exchange(
        slices[number],
        f"volume.nii.gz, {shown}",
        f"label map (NRRD), {shown}",
        lambda axes: draw_segment(axes, mask[number], ORANGE),
    )


def _cvat(server: LabelServer, model: str) -> Figure:
    image, file = phantom(SEEDS["cvat"]), io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=95)
    shapes = ask_cvat("detector.py", server.url, model, {"image": base64.b64encode(file.getvalue())})
    outlines = [(shape["label"], YELLOW, np.reshape(shape["points"], (-1, 2))) for shape in shapes]
    return draw_exchange(
        image, "frame that CVAT sends", "polygons of detector.py", lambda axes: draw_outlines(axes, outlines)
    )


def _qupath(server: LabelServer, model: str) -> Figure:
    import requests

    image, file = phantom(SEEDS["qupath"]), io.BytesIO()
    Image.fromarray(image).save(file, "png")
    form = {"wsi": (None, json.dumps(QUPATH)), "file": ("picture.png", file.getvalue(), "image/png")}
    answer = requests.post(f"{server.url}/infer/wsi_v2/{model}?output=asap", files=form)
    answer.raise_for_status()
    outlines = outlines_of_asap(answer.text)
    return draw_exchange(
        image, "picture that QuPath sends", "annotations (ASAP XML)", lambda axes: draw_outlines(axes, outlines)
    )


def _wait_for_images(server: LabelServer, count: int) -> None:
    """Until the server has seen the files in its folder."""
    while server.get("/info/")["datastore"]["total"] < count:
        time.sleep(0.5)


def _ohif(app: Path, folder: Path) -> Image.Image | None:
    """The viewer itself with the mask of a series; None where the programs that it needs are missing."""
    from scripts.browser import Browser, find_chromium
    from scripts.ohif import Ohif
    from scripts.orthanc import Orthanc

    if not Orthanc.is_installed() or find_chromium() is None:
        return None
    with Orthanc(folder / "orthanc") as store:
        series = store.send(phantom_slices(SEEDS["ohif"]), (1, 1, 8))
        server = LabelServer(app, folder)
        server.studies = f"{store.url}/dicom-web"
        with server, Browser((1100, 620)) as browser:
            Ohif(browser, server.url, series).segment()
            page = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    return page.quantize(256, dither=Image.Dither.NONE)


@click.command(cls=Command, help=__doc__.splitlines()[0])
@click.option(
    "--bundle", type=BUNDLE, required=True, metavar="DIR", help="A bundle of ultrasound with a trained model."
)
@click.option("--checkpoint", type=PathTo("file"), metavar="MODEL", help="Another model than the bundle's own.")
@click.option("--output", type=PathTo("folder", new=True), required=True, metavar="DIR")
def command(bundle: Path, output: Path, checkpoint: Path | None) -> None:
    """Write monai_label_slicer.png, _cvat.png, _qupath.png and, where it can be run, _ohif.png."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = add_bundle(bundle, folder / "app", checkpoint).name
        (folder / "studies").mkdir()
        with LabelServer(folder / "app", folder / "studies") as server:
            _slicer(server, model, folder).savefig(output / "monai_label_slicer.png")
            _cvat(server, model).savefig(output / "monai_label_cvat.png")
            _qupath(server, model).savefig(output / "monai_label_qupath.png")
        page = _ohif(folder / "app", folder)
        if page is None:
            print("no picture of OHIF: apt-get install orthanc orthanc-dicomweb chromium")
        else:
            page.save(output / "monai_label_ohif.png", optimize=True)
    print(f"pictures: {output}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m scripts.viewer_pictures")


if __name__ == "__main__":
    main()
