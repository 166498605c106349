from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file

from custom.errors import InputError
from custom.first_stage import load_first_stage, save_first_stage


@pytest.fixture
def autoencoder(make_first_stage):
    return make_first_stage("kl").autoencoder.train().requires_grad_(True)


@pytest.fixture
def batches(images):
    return [images[:1], images[1:]]


@pytest.mark.parametrize("half", [True, False])
def test_what_was_saved_is_loaded_again(half, autoencoder, images, batches, tmp_path):
    save_first_stage(autoencoder, tmp_path, batches, half=half)
    loaded = load_first_stage(tmp_path)
    expected = autoencoder.eval().encode(images).latent_dist.mean * loaded.scaling_factor
    torch.testing.assert_close(loaded.encode(images).mean, expected, rtol=0, atol=2e-2 if half else 0)


def test_the_scaling_factor_gives_latents_of_unit_variance(autoencoder, images, batches, tmp_path):
    save_first_stage(autoencoder, tmp_path, batches, half=False)
    loaded = load_first_stage(tmp_path)
    assert loaded.scaling_factor != 0.25  # what the autoencoder had before
    assert loaded.encode(2 * images - 1).mean.std().item() == pytest.approx(1, abs=1e-4)


def test_diffusers_reads_the_folder(autoencoder, batches, tmp_path):
    save_first_stage(autoencoder, tmp_path, batches, half=False)
    read = AutoencoderKL.from_pretrained(tmp_path)
    assert read.config.scaling_factor == autoencoder.config.scaling_factor
    assert torch.equal(read.decoder.conv_in.weight, autoencoder.decoder.conv_in.weight)


@pytest.mark.parametrize(("half", "kind"), [(True, torch.float16), (False, torch.float32)])
def test_half_is_the_kind_of_number_in_the_file(half, kind, autoencoder, batches, tmp_path):
    save_first_stage(autoencoder, tmp_path, batches, half=half)
    state = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in state.values()} == {kind}
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "AutoencoderKL"


def test_saving_half_precision_leaves_the_trained_weights_as_they_are(autoencoder, batches, tmp_path):
    before = {key: value.clone() for key, value in autoencoder.state_dict().items()}
    save_first_stage(autoencoder, tmp_path, batches, half=True)
    assert all(torch.equal(value, before[key]) for key, value in autoencoder.state_dict().items())


def test_folders_on_the_way_are_created(autoencoder, batches, tmp_path):
    save_first_stage(autoencoder, tmp_path / "runs" / "first stage", batches)
    assert (tmp_path / "runs" / "first stage" / "config.json").is_file()


def test_a_file_in_the_way_is_one_line(autoencoder, batches, tmp_path, message_of):
    path = tmp_path / "taken"
    path.write_text("something else")
    with pytest.raises(InputError, match="cannot write the first stage") as error:
        save_first_stage(autoencoder, path, batches)
    assert str(path) in message_of(error)
    assert path.read_text() == "something else"


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), SafetensorError("I/O error:\nNo space left")]
)
def test_a_full_disk_is_one_line(failure, autoencoder, batches, tmp_path, monkeypatch, message_of):
    def save_pretrained(self, folder):
        raise failure

    monkeypatch.setattr(AutoencoderKL, "save_pretrained", save_pretrained)
    with pytest.raises(InputError, match="No space left") as error:
        save_first_stage(autoencoder, tmp_path, batches)
    assert str(tmp_path) in message_of(error)
