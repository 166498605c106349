"""What annotation viewers ask of a server: by their own files, unchanged, where Python runs these, else by the same
requests. The plugins come with MONAI Label."""

from __future__ import annotations

import base64
import io
import json
from argparse import Namespace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import requests
import SimpleITK
from scipy import ndimage
from skimage.draw import polygon

from custom.monai_label.command import add_bundle
from custom.monai_label.outlines import outline
from custom.networks import SemiGDA, save_model
from custom.volumes import read_volume, to_slices, windowed
from scripts.label_server import LabelServer
from scripts.viewer_clients import QUPATH, ask_cvat, outlines_of_asap, slicer_client, slicer_infer
from tests.monai_label.clients import BUNDLE, NAME, NETWORK, ODD, REQUEST, SETTINGS, Client, fill

AFFINE = np.array([[0, 2, 0, -5], [-1.5, 0, 0, 7], [0, 0, 3, 11], [0, 0, 0, 1]], float)
SHAPE = (30, 26, 5)


def scans(folder, phantom):
    """Four volumes in NIfTI and one slice in NRRD, of the phantom's pictures; returns the labels by name."""
    labels = {}
    for number in range(4):
        pictures = [np.asarray(Image.open(item["image"]).convert("L").resize(SHAPE[:2])).T for item in phantom[:5]]
        masks = [np.asarray(Image.open(item["label"]).convert("L").resize(SHAPE[:2])).T > 0 for item in phantom[:5]]
        values = np.stack(pictures, axis=2).astype(np.int16) * 4 - 300 + number
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), folder / f"scan {number}.nii.gz")
        labels[f"scan {number}"] = np.stack(masks, axis=2).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values.T[:1]), str(folder / "slice.nrrd"))
    return labels


@pytest.fixture(scope="module")
def place(tmp_path_factory, phantom):
    """A server with pictures and volumes, and a model with random weights."""
    folder = tmp_path_factory.mktemp("viewers")
    save_model(SemiGDA(**NETWORK), folder / "model.pt", {"image_size": SETTINGS["image_size"]})
    add_bundle(BUNDLE, folder / "app", checkpoint=folder / "model.pt")
    masks = fill(folder / "studies", phantom)
    labels = scans(folder / "studies", phantom)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
        patch.setenv("MONAI_LABEL_SESSION_PATH", str(folder / "sessions"))
        with LabelServer(folder / "app", folder / "studies") as server:
            yield Namespace(folder=folder, server=server, client=Client(server), masks=masks, labels=labels)


def mask_of(place, image):
    """The mask [H, W] of a picture as a plain request gets it."""
    mask = np.asarray(Image.open(io.BytesIO(place.client.infer(image, output="image").content)))
    assert 0 < (mask > 0).mean() < 1
    return mask


def studies(place):
    return place.folder / "studies"


def detail(answer):
    assert answer.status_code == 400
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


# --- 3D Slicer: its own client ---


@pytest.fixture
def slicer(place, tmp_path):
    return slicer_client(place.server.url, tmp_path)


def test_slicer_finds_what_it_shows(slicer):
    info = slicer.info()
    assert info["labels"] == ["polyp"]
    assert info["models"][NAME]["type"] == "segmentation"
    assert info["models"][NAME]["labels"] == {"polyp": 1}
    assert NAME in info["trainers"]
    assert "disagreement" in info["strategies"]
    assert info["datastore"]["total"] == 13
    assert not slicer.auth_enabled()


@pytest.mark.parametrize("image", ["scan 1", "slice"])
def test_slicer_gets_the_mask_of_a_volume_on_its_grid(image, slicer, place):
    file, params = slicer_infer(slicer, NAME, image)
    assert params["label_names"] == {"polyp": 1}
    mask = SimpleITK.ReadImage(file)
    (source,) = studies(place).glob(f"{image}.*")
    scan = SimpleITK.ReadImage(str(source))
    assert mask.GetSize() == scan.GetSize()
    for place_of in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, place_of)(), getattr(scan, place_of)(), atol=1e-5)
    assert 0 < SimpleITK.GetArrayFromImage(mask).mean() < 1


def test_the_mask_of_a_volume_is_that_of_its_slices(slicer, place):
    file, _ = slicer_infer(slicer, NAME, "scan 1")
    volume = read_volume(studies(place) / "scan 1.nii.gz")
    slices = to_slices(windowed(volume), volume.affine)
    masks = to_slices(read_volume(file).values, read_volume(file).affine)
    for number in range(SHAPE[2]):
        picture = io.BytesIO()
        Image.fromarray(slices[:, :, number].T).save(picture, "png")
        answer = place.client.infer(output="image", upload=("slice.png", picture.getvalue()))
        alone = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert (alone != masks[:, :, number].T).mean() < 0.01  # the sizes are rounded in different ways


def test_slicer_gets_the_mask_of_a_picture_as_a_volume_of_one_slice(slicer, place):
    file, _ = slicer_infer(slicer, NAME, "case 1")
    mask = SimpleITK.ReadImage(file)
    assert mask.GetSize() == (*ODD, 1)
    assert mask.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask)[0], mask_of(place, "case 1"))


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_masks_come_in_the_formats_of_volumes(extension, place):
    wanted = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(saved(place, "scan 1", ".nrrd"))))
    found = SimpleITK.ReadImage(str(saved(place, "scan 1", extension)))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), wanted)
    np.testing.assert_allclose(found.GetOrigin(), np.diag([-1, -1, 1]) @ AFFINE[:3, 3], atol=1e-5)


def saved(place, image, extension):
    answer = place.client.infer(image, output="image", result_extension=extension)
    assert answer.ok, answer.text
    file = place.folder / f"answer{extension}"
    file.write_bytes(answer.content)
    return file


def slicer_label(path, reference, values):
    """A label map [I, J, K] in the geometry of what the viewer shows."""
    image = SimpleITK.GetImageFromArray(values.T)
    image.CopyInformation(reference)
    SimpleITK.WriteImage(image, str(path), True)
    return str(path)


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_slicer_submits_the_label_of_a_volume(extension, slicer, place, tmp_path):
    scan = SimpleITK.ReadImage(str(studies(place) / "scan 0.nii.gz"))
    label = slicer_label(tmp_path / f"label{extension}", scan, place.labels["scan 0"])
    assert slicer.save_label("scan 0", label, params={"label_info": [{"name": "polyp", "idx": 1}]})["label"] == "scan 0"
    stored = slicer.download_label("scan 0", "final")
    assert stored.endswith(".nii.gz")
    np.testing.assert_array_equal(nibabel.load(stored).get_fdata(), place.labels["scan 0"])
    np.testing.assert_allclose(nibabel.load(stored).affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_slicer_submits_the_label_of_a_picture_as_a_volume_of_one_slice(extension, slicer, place, tmp_path):
    mask = (np.asarray(Image.open(place.masks["case 2"])) > 0).astype(np.uint8)
    shown = SimpleITK.GetImageFromArray(mask[None])
    label = slicer_label(tmp_path / f"label{extension}", shown, mask.T[:, :, None])
    assert slicer.save_label("case 2", label, params={"label_info": [{"name": "polyp", "idx": 1}]})
    np.testing.assert_array_equal(np.asarray(Image.open(slicer.download_label("case 2", "final"))), mask)


def test_slicer_uploads_a_volume_and_predicts_it_in_a_session(slicer, place):
    scan = str(studies(place) / "scan 2.nii.gz")
    assert slicer.upload_image(scan, "uploaded")["image"] == "uploaded"
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(slicer_infer(slicer, NAME, "scan 2")[0]))
    session = slicer.create_session(scan)["session_id"]
    for options in ({"image": "uploaded"}, {"image": "", "session_id": session}):
        file, _ = slicer_infer(slicer, NAME, **options)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file)), expected)
    assert slicer.remove_session(session)
    assert requests.delete(f"{place.server.url}/datastore/?id=uploaded").ok


# --- CVAT: its own functions ---


def cvat(file, place, body):
    """What a function of CVAT answers."""
    return ask_cvat(file, place.server.url, NAME, body)


def frame(place):
    """A picture as CVAT sends it, and its mask: the plugin makes a JPEG file of it."""
    (file,) = studies(place).glob("case 3.jpg")
    picture = Image.open(file)
    again = io.BytesIO()
    picture.save(again, "jpeg")
    answer = place.client.infer(output="image", upload=("frame.jpg", again.getvalue()))
    return base64.b64encode(file.read_bytes()), np.asarray(Image.open(io.BytesIO(answer.content)))


def test_the_detector_of_cvat_gets_outlines_with_class_names(place):
    image, mask = frame(place)
    shapes = cvat("detector.py", place, {"image": image})
    assert {(shape["label"], shape["type"]) for shape in shapes} == {("polyp", "polygon")}
    (expected,) = outline(mask, {"polyp": 1}, smallest=10)
    points = [np.array(contour, int).ravel().tolist() for contour in expected["contours"]]  # as the plugin cuts them
    assert [shape["points"] for shape in shapes] == points


def test_the_interactor_of_cvat_gets_the_piece_that_was_clicked(place):
    image, mask = frame(place)
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    row, column = np.argwhere(pieces == 1)[0]
    body = {"image": image, "pos_points": [[int(column), int(row)]], "neg_points": []}
    found = np.array(cvat("interactor.py", place, body)["mask"])
    np.testing.assert_array_equal(found > 0, pieces == 1)
    boxed = cvat("interactor.py", place, {"image": image, "obj_bbox": [[0, 0], [20, 10]]})
    assert not np.array(boxed["mask"])[10:].any()
    np.testing.assert_array_equal(np.array(boxed["mask"])[:10, :20], mask[:10, :20])


# --- QuPath: its requests ---


def drawn(xml, size):
    """The mask of the polygons of an answer, as QuPath adds them."""
    mask = np.zeros(size, bool)
    for name, colour, points in outlines_of_asap(xml):
        assert name == "polyp"
        int(colour.lstrip("#"), 16)
        x, y = points.T
        mask[polygon(y - 0.5, x - 0.5, size)] = True
    return mask


def filled(mask):
    return ndimage.binary_fill_holes(mask > 0)


def test_qupath_gets_asap_xml_of_an_image_of_the_server(place):
    answer = requests.post(f"{place.server.url}/infer/wsi/{NAME}?output=asap&image=case 1", json=QUPATH)
    assert answer.ok, answer.text
    mask = mask_of(place, "case 1")
    np.testing.assert_array_equal(drawn(answer.text, mask.shape), filled(mask))


def test_qupath_gets_asap_xml_of_an_image_that_it_sends(place):
    file = (studies(place) / "case 1.png").read_bytes()
    form = {"wsi": (None, json.dumps(QUPATH)), "file": ("case 1.png", file, "image/png")}
    answer = requests.post(f"{place.server.url}/infer/wsi_v2/{NAME}?output=asap", files=form)
    assert answer.ok, answer.text
    mask = mask_of(place, "case 1")
    np.testing.assert_array_equal(drawn(answer.text, mask.shape), filled(mask))


def test_qupath_gets_what_is_in_the_region_that_was_selected(place):
    region = {**QUPATH, "location": [5, 6], "size": [20, 14]}
    answer = requests.post(f"{place.server.url}/infer/wsi/{NAME}?output=asap&image=case 1", json=region)
    inside = np.zeros(ODD[::-1], bool)
    inside[6:20, 5:25] = True
    expected = filled(mask_of(place, "case 1") * inside)
    assert expected.any()
    np.testing.assert_array_equal(drawn(answer.text, inside.shape), expected)


def test_dsa_gets_its_annotations(place):
    answer = requests.post(f"{place.server.url}/infer/wsi/{NAME}?output=dsa&image=case 1", json=QUPATH).json()
    assert {element["label"]["value"] for element in answer["elements"]} == {"polyp"}
    assert all(element["lineColor"].startswith("rgb(") for element in answer["elements"])


def test_qupath_submits_annotations(place):
    assert requests.head(f"{place.server.url}/datastore/image?image=case 3").status_code == 200
    assert requests.head(f"{place.server.url}/datastore/image?image=nobody").status_code == 404
    points = "".join(f'<Coordinate Order="0" X="{x}" Y="{y}"/>' for x, y in [(3, 4), (13, 4), (13, 24), (3, 24)])
    shape = f'<Annotation Name="Polyp" Type="Rectangle" PartOfGroup="Polyp" Color="#ff0000">{points}</Annotation>'
    xml = f"<ASAP_Annotations><Annotations>{shape}</Annotations><AnnotationGroups/></ASAP_Annotations>"
    form = {"label": ("case 37261.xml", xml, "text/xml"), "params": (None, "{}")}
    answer = requests.put(f"{place.server.url}/datastore/label?image=case 3", files=form)
    assert answer.json() == {"image": "case 3", "label": "case 3"}
    stored = requests.get(f"{place.server.url}/datastore/label?label=case 3&tag=final").content
    expected = np.zeros(ODD[::-1], np.uint8)
    expected[4:24, 3:13] = 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), expected)
    form["label"] = ("a.xml", xml.replace("Polyp", "Tumor"), "text/xml")
    refusal = detail(requests.put(f"{place.server.url}/datastore/label?image=case 3", files=form))
    assert refusal == "label of case 3: there is no class Tumor; classes are: polyp"


def test_qupath_asks_for_the_next_image(place):
    asked = {"image": "", "patch_size": [1024, 1024], "image_size": [0, 0]}
    answer = requests.post(f"{place.server.url}/activelearning/random", json=asked).json()
    assert Path(answer["path"]).is_file()


# --- OHIF: its requests ---


def test_ohif_gets_plain_voxels_in_the_order_of_the_file(place):
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    answer = place.client.infer("scan 1", output="image", **params)
    header, voxels = answer.content.split(b"\n\n", 1)
    assert b"encoding: raw" in header
    assert b"sizes: 30 26 5" in header
    mask = np.frombuffer(voxels, "<u2").reshape(SHAPE, order="F")
    np.testing.assert_array_equal(mask, read_volume(saved(place, "scan 1", ".nii.gz")).values)


def test_ohif_submits_plain_voxels(place):
    form = {
        "params": (None, json.dumps({"label_info": [{"name": "polyp", "idx": 1, "color": [1, 2, 3]}]})),
        "label": ("label.bin", place.labels["scan 3"].astype("<u2").tobytes(order="F")),
    }
    answer = requests.put(f"{place.server.url}/datastore/label?image=scan 3", files=form)
    assert answer.json() == {"image": "scan 3", "label": "scan 3"}
    stored = studies(place) / "labels" / "final" / "scan 3.nii.gz"
    np.testing.assert_array_equal(read_volume(stored).values, place.labels["scan 3"])


# --- what none of them may send, and training ---


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (lambda client: client.label("scan 1", ("a.png", picture(SHAPE[:2]))), "send .nii.gz or .nrrd"),
        (
            lambda client: client.label("scan 1", ("a.mha", b"x")),
            "send one of .png, .jpg, .jpeg, .tif, .tiff, .bmp, .nii",
        ),
        (lambda client: client.label("scan 1", ("label.bin", b"x")), "one or two bytes for each voxel"),
        (lambda client: client.label("case 1", ("a.nii.gz", b"x")), "the nii.gz file cannot be read"),
        (lambda client: client.upload("new", ("a.nii.gz", b"x")), "the nii.gz file cannot be read"),
        (lambda client: client.upload("new", ("a.dcm", b"x")), ".nii, .nii.gz, .nrrd"),
        (lambda client: client.infer("scan 1", result_extension=".png"), "ask for .nii.gz, .nii, .nrrd or .mha"),
        (lambda client: outlines_of("scan 1", client), "ask for the mask of a volume as .nii.gz or .nrrd"),
    ],
)
def test_refusals_name_the_formats_accepted(send, words, place):
    assert words in detail(send(place.client))


def outlines_of(image, client):
    return requests.post(f"{client.url}/infer/wsi/{NAME}?output=asap&image={image}", json=QUPATH)


def picture(size):
    file = io.BytesIO()
    Image.new("L", size).save(file, "png")
    return file.getvalue()


def test_a_training_on_volumes_and_pictures_reads_their_slices(place):
    for image in ("scan 0", "scan 3"):
        form = {"label": ("label.bin", place.labels[image].tobytes(order="F"))}
        assert requests.put(f"{place.server.url}/datastore/label?image={image}", files=form).ok
    with open(place.masks["case 0"], "rb") as file:
        assert place.client.label("case 0", file).ok
    answer = place.client.train(**{**REQUEST, "val_split": 0.4})
    assert answer.ok, answer.text
    (run,) = (place.folder / "app" / "model" / NAME / "runs").glob("monai_label*")
    slices = {path.name for path in (run / "slices").iterdir()}
    assert {"scan 0_slice_000.png", "scan 0_slice_004_mask.png", "scan 1_slice_000.png"} <= slices
    assert "scan 1_slice_000_mask.png" not in slices
    place.server.score(NAME)
    asked = {place.client.ask()["id"] for _ in range(6)}
    assert {"scan 1", "scan 2", "slice"} & asked
    info = requests.get(f"{place.server.url}/datastore/image/info", params={"image": "scan 1"}).json()
    assert 0 <= info["disagreement"] <= 1
