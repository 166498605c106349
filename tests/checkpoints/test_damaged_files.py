"""Random damage, seeded: a file of weights is refused in one line, or holds what was written."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile

import pytest
import torch
from torch import nn

from custom.checkpoints import load_checkpoint, save_atomically
from custom.errors import InputError
from custom.networks import load_model, load_trained_weights, save_model
from tests.conftest import in_one_line
from tests.methods.conftest import make_unet

FLIPS = 100
WIDTHS = (2, 2, 2, 2, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The bytes of a small `model.pt`, and its network."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    network = make_unet(widths=WIDTHS).eval()
    save_model(network, path, {"image_size": 16, "bgr": False})
    return path.read_bytes(), network


def flipped(content, generator):
    """The content with one bit flipped, anywhere."""
    content, place = bytearray(content), generator.randrange(len(content))
    content[place] ^= 1 << generator.randrange(8)
    return bytes(content)


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_with_a_flipped_bit_is_refused_or_is_the_model(model, tmp_path):
    content, network = model
    path, generator, refused = tmp_path / "model.pt", random.Random(0), 0
    for _ in range(FLIPS):
        path.write_bytes(flipped(content, generator))
        try:
            loaded = load_model(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert same_weights(loaded, network)
            assert loaded.architecture == network.architecture
    assert refused > FLIPS // 2


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_is_the_checkpoint(tmp_path):
    saved = {"network": {"weight": torch.rand(50, 50)}, "trainer": {"epoch": 3}, "best": (0.5, 2)}
    path, generator, refused = tmp_path / "stage_checkpoint.pt", random.Random(1), 0
    save_atomically(saved, path)
    content = path.read_bytes()
    for _ in range(FLIPS):
        path.write_bytes(flipped(content, generator))
        try:
            loaded = load_checkpoint(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert torch.equal(loaded["network"].pop("weight"), saved["network"]["weight"])
            assert loaded == {"network": {}, "trainer": {"epoch": 3}, "best": (0.5, 2)}
    assert refused > FLIPS // 2


def test_a_model_cut_anywhere_is_refused(model, tmp_path):
    content, path, generator = model[0], tmp_path / "model.pt", random.Random(2)
    for length in [0, 1, 4, *(generator.randrange(len(content)) for _ in range(40))]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError) as error:
            load_model(path)
        in_one_line(error)


def test_weights_changed_under_a_right_archive_do_not_fit_the_checksum(model, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(model[0])
    content = load_checkpoint(path)
    next(iter(content["model"].values())).view(-1)[0] += 1
    save_atomically(content, path)
    for read in (load_model, lambda file: load_trained_weights(make_unet(widths=WIDTHS), file)):
        with pytest.raises(InputError, match="its checksum does not fit") as error:
            read(path)
        assert str(path) in in_one_line(error)


def test_a_model_of_a_former_version_has_no_checksum_and_loads(model, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(model[0])
    content = load_checkpoint(path)
    del content["checksum"]
    save_atomically(content, path)
    assert same_weights(load_model(path), model[1])


def changed(content, where, value):
    """The content of a model with one entry replaced (or removed, for `del`) and without its checksum."""
    content.pop("checksum")
    *parents, name = where
    inner = content
    for parent in parents:
        inner = inner[parent]
    if value is del_:
        del inner[name]
    else:
        inner[name] = value
    return content


del_ = object()
WEIGHT = "encoder.blocks.0.first.conv.weight"
WEIGHTS = ("model", WEIGHT)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("model",), [1, 2]),
        (("model",), None),
        (WEIGHTS, del_),
        (WEIGHTS, torch.zeros(1)),
        (WEIGHTS, torch.zeros(2, 3, 3, 3, dtype=torch.int64)),
        (WEIGHTS, torch.zeros(2, 3, 3, 3, dtype=torch.complex64)),
        (WEIGHTS, torch.zeros(2, 3, 3, 3).to_sparse()),
        (WEIGHTS, torch.full((2, 3, 3, 3), float("nan"))),
        (WEIGHTS, torch.full((2, 3, 3, 3), float("inf"))),
        (WEIGHTS, torch.zeros(1).expand(10**6, 10**6)),
        (WEIGHTS, "weights"),
        (("model", "another.weight"), torch.zeros(1)),
        (("model", 3), torch.zeros(1)),
        (("details",), "none"),
        (("architecture",), []),
        (("architecture", "network"), "eval"),
        (("architecture", "network"), ["UNet"]),
        (("architecture", "num_classes"), 10**6),
        (("architecture", "num_classes"), 1),
        (("architecture", "num_classes"), "2"),
        (("architecture", "num_classes"), 3),
        (("architecture", "widths"), [10**9] * 5),
        (("architecture", "widths"), [60000] * 5),
        (("architecture", "widths"), [2, 2, 2, 2, -2]),
        (("architecture", "widths"), [2] * 1000),
        (("architecture", "widths"), [[2], {"a": 2}, 2, 2, 2]),
        (("architecture", "widths"), float("nan")),
        (("architecture", "unknown"), 3),
        (("architecture", 3), 3),
        (("architecture", "widths"), torch.zeros(2)),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else type(value).__name__,
)
def test_an_odd_entry_of_a_model_is_one_line(model, where, value, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(model[0])
    torch.save(changed(load_checkpoint(path), where, value), path)
    with pytest.raises(InputError) as error:
        model_of(path)
    assert str(path) in in_one_line(error)


def model_of(path):
    from custom.networks import model_details

    model_details(path)
    return load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_written(value, tmp_path):
    network = make_unet(widths=WIDTHS)
    save_model(network, tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    with pytest.raises(InputError, match=r"model.pt is not written: the weights of .* are not finite") as error:
        save_model(network, tmp_path / "model.pt")
    in_one_line(error)
    assert (tmp_path / "model.pt").read_bytes() == before


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def scripted():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), file)
    return file.getvalue()


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"0" * 1000)
    return file.getvalue()


def safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 4


KINDS = {
    "TorchScript": (scripted, "is a TorchScript model"),
    "module": (lambda: saved(nn.Linear(1, 1)), r"holds Python objects \(torch.nn.modules.linear.Linear\)"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "is a pickle of Python objects"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "html": (lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "safetensors": (safetensors, "is a safetensors file"),
    "onnx": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x00", "is an ONNX model"),
    "zip": (lambda: zipped("readme.txt"), "is a ZIP archive without a model"),
    "npz": (lambda: zipped("weights.npy"), "is a NumPy archive"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "is an HDF5 file"),
    "gzip": (lambda: b"\x1f\x8b" + b"\0" * 99, "is a gzip archive"),
    "empty": (lambda: b"", "is empty"),
    "zeros": (lambda: b"\0" * 999, "nothing but zeros"),
    "text": (lambda: b"to do: put the model here\n", "is a text file"),
    "json": (lambda: b'{"width": 3}', "is a text file"),
    "noise": (lambda: random.Random(0).randbytes(999), "is no file that PyTorch writes"),
    "state dict": (lambda: saved({"conv.weight": torch.zeros(1)}), "is a plain state dict"),
    "lightning": (lambda: saved({"epoch": 1, "state_dict": {"a": torch.zeros(1)}}), "is another project's checkpoint"),
    "stage": (lambda: saved({"network": {}, "objects": {}, "trainer": {}, "best": ()}), "the state of a stage"),
    "list": (lambda: saved([1]), "holds a list"),
    "nothing": (lambda: saved({}), "holds nothing"),
}


@pytest.mark.parametrize(("make", "words"), KINDS.values(), ids=KINDS)
def test_a_file_that_is_no_model_is_called_by_its_name(make, words, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    with pytest.raises(InputError, match=words) as error:
        load_model(path)
    assert str(path) in in_one_line(error)


def test_a_model_of_an_old_pytorch_loads(model, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(model[0])
    torch.save(load_checkpoint(path), path, _use_new_zipfile_serialization=False)
    assert same_weights(load_model(path), model[1])


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(InputError, match="is a folder; give a file"):
        load_model(tmp_path)
