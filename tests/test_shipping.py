from __future__ import annotations

import shutil

import pytest
import torch

from custom.checkpoints import load_checkpoint, save_atomically
from custom.checkpoints.untrained import is_trained, mark_as_untrained
from custom.errors import InputError
from custom.export import export_bundle
from custom.monai_label.command import add_bundle
from custom.networks import UNet, load_model, model_details, save_model
from custom.shipping import main
from tests.bundles.conftest import CONFIGS, ROOT
from tests.bundles.test_inference import predict
from tests.methods.conftest import make_unet

DETAILS = {"method": "distilled", "image_size": 32}


@pytest.fixture
def bundle(tmp_path):
    """A bundle of the repository without its large parts."""
    folder = tmp_path / "lesions"
    shutil.copytree(CONFIGS, folder / "configs")
    shutil.copy(ROOT / "LICENSE", folder)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run" / "model.pt"
    save_model(make_unet(3), path, DETAILS)
    return path


def test_weights_have_16_bits_in_the_file_and_32_in_the_network(tmp_path):
    network = make_unet().eval()
    network.encoder.blocks[0](torch.rand(1, 3, 32, 32))
    save_model(network, tmp_path / "half.pt", DETAILS, half=True)
    stored, loaded = load_checkpoint(tmp_path / "half.pt")["model"], load_model(tmp_path / "half.pt")
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        if tensor.ndim > 1:
            assert stored[name].dtype == torch.float16
            torch.testing.assert_close(found, tensor, rtol=2**-11, atol=1e-7)
        else:
            assert torch.equal(found, tensor)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=2e-3)


def test_the_student_fits_into_10_megabytes(tmp_path):
    save_model(UNet(encoder="efficientnet-lite0", seed=0), tmp_path / "model.pt", half=True)
    assert (tmp_path / "model.pt").stat().st_size < 10e6


def test_a_weight_that_16_bits_cannot_hold_is_named_and_nothing_is_written(tmp_path, message_of):
    network = make_unet()
    with torch.no_grad():
        network.heads[0].weight[0, 0, 0, 0] = 70_000
    with pytest.raises(InputError, match=r"weights of heads.0.weight .*too large for half precision") as error:
        save_model(network, tmp_path / "model.pt", half=True)
    message_of(error)
    assert not (tmp_path / "model.pt").exists()


def test_a_shipped_model_keeps_its_details_and_travels(bundle, checkpoint, tmp_path, capsys):
    main([str(bundle), "--checkpoint", str(checkpoint)])
    model = bundle / "models" / "model.pt"
    assert f"model written to {model} (0." in capsys.readouterr().out
    assert model_details(model) == DETAILS
    assert load_model(model).num_classes == 3
    exported = export_bundle(bundle, tmp_path / "out")
    assert (exported / "models" / "model.pt").read_bytes() == model.read_bytes()
    app = add_bundle(bundle, tmp_path / "app")
    assert (app / "models" / "model.pt").read_bytes() == model.read_bytes()
    assert is_trained(app / "models" / "model.pt")
    assert not (app / "configs" / "train.json").exists()  # MONAI Label trains SemiGDA alone


def test_a_model_is_replaced_on_request_and_then_counts_as_trained(bundle, checkpoint, message_of):
    model = bundle / "models" / "model.pt"
    main([str(bundle), "--checkpoint", str(checkpoint)])
    mark_as_untrained(model)
    with pytest.raises(InputError) as error:
        main([str(bundle), "--checkpoint", str(checkpoint)])
    assert f"{model} is there already: give --overwrite" in message_of(error)
    main([str(bundle), "--checkpoint", str(checkpoint), "--overwrite", "--full"])
    assert is_trained(model)
    assert load_checkpoint(model)["model"]["heads.0.weight"].dtype == torch.float32


@pytest.mark.parametrize("fault", ["bundle", "model"])
def test_a_folder_that_is_no_bundle_and_a_file_that_is_no_model_are_named(fault, bundle, checkpoint, message_of):
    if fault == "bundle":
        (bundle / "LICENSE").unlink()
    else:
        save_atomically({"state_dict": {}}, checkpoint)
    with pytest.raises(InputError) as error:
        main([str(bundle), "--checkpoint", str(checkpoint)])
    assert ("LICENSE is missing" if fault == "bundle" else "is not a model file") in message_of(error)
    assert not (bundle / "models").exists()


def test_inference_with_a_half_precision_model_gives_masks(checkpoint, bundle, phantom_image, tmp_path):
    main([str(bundle), "--checkpoint", str(checkpoint)])
    out = predict(phantom_image.parent, bundle / "models" / "model.pt", tmp_path)
    assert len(list((out / "masks").iterdir())) == 1


@pytest.fixture
def phantom_image(tmp_path):
    from PIL import Image

    path = tmp_path / "pictures" / "one.png"
    path.parent.mkdir()
    Image.new("RGB", (40, 50), "grey").save(path)
    return path


def test_models_of_bundles_are_not_ignored_by_git():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert not [line for line in lines if "models" in line or line.strip("/").endswith(".pt")]
