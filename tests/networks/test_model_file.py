from __future__ import annotations

import os
import stat

import pytest
import torch

from custom.checkpoints import load_checkpoint, save_atomically
from custom.errors import InputError
from custom.networks import (
    MeanTeacher,
    NetworkPair,
    SemiGDA,
    load_model,
    load_trained_weights,
    model_details,
    save_model,
)
from custom.networks import model_file as checkpoints
from tests.methods.conftest import make_unet


@pytest.fixture
def no_download(monkeypatch):
    """Looking for a first stage anywhere, on disk or on the hub, fails."""

    def fail(*_arguments, **_options):
        raise AssertionError("a first stage was looked for")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("custom.networks.semigda.load_first_stage", fail)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_what_was_saved_is_read_again(tmp_path):
    path = tmp_path / "new" / "folder" / "state.pt"
    save_atomically({"weights": torch.arange(3), "epoch": 2, "best": (0.5, 1)}, path)
    content = load_checkpoint(path)
    assert content["weights"].tolist() == [0, 1, 2]
    assert (content["epoch"], content["best"]) == (2, (0.5, 1))
    assert names(path.parent) == ["state.pt"]


def test_saving_again_replaces_the_file(tmp_path):
    path = tmp_path / "state.pt"
    for epoch in (1, 2):
        save_atomically({"epoch": epoch}, path)
    assert load_checkpoint(path) == {"epoch": 2}
    assert names(tmp_path) == ["state.pt"]


def fail_midway(monkeypatch, failure):
    """`torch.save` writes a little, then fails."""

    def save(_content, file):
        file.write(b"half of the")
        file.flush()
        raise failure

    monkeypatch.setattr(torch, "save", save)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        RuntimeError("unexpected pos 64 vs 0: No space left on device\nException raised from write"),
    ],
)
def test_a_failure_midway_keeps_the_old_file_and_leaves_no_other(failure, tmp_path, monkeypatch, message_of):
    path = tmp_path / "state.pt"
    save_atomically({"epoch": 1}, path)
    fail_midway(monkeypatch, failure)
    with pytest.raises(InputError, match="No space left on device.*the last good one is kept") as error:
        save_atomically({"epoch": 2}, path)
    assert str(path) in message_of(error)
    assert load_checkpoint(path) == {"epoch": 1}
    assert names(tmp_path) == ["state.pt"]


def test_a_first_save_that_fails_leaves_nothing(tmp_path, monkeypatch, message_of):
    fail_midway(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(InputError, match="is the disk full") as error:
        save_atomically({"epoch": 1}, tmp_path / "state.pt")
    message_of(error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("failure", [OSError(), RuntimeError()])
def test_a_failure_without_a_message_is_reported_too(failure, tmp_path, monkeypatch):
    fail_midway(monkeypatch, failure)
    with pytest.raises(InputError, match="cannot save"):
        save_atomically({"epoch": 1}, tmp_path / "state.pt")


def test_an_interrupt_midway_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    save_atomically({"epoch": 1}, path)
    fail_midway(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save_atomically({"epoch": 2}, path)
    assert load_checkpoint(path) == {"epoch": 1}
    assert names(tmp_path) == ["state.pt"]


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path, message_of):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match="cannot save") as error:
        save_atomically({}, tmp_path / "runs" / "state.pt")
    message_of(error)
    assert names(tmp_path) == ["runs"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_the_file_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        save_atomically({}, tmp_path / "state.pt")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.pt").stat().st_mode) == 0o644


# Reading


def test_a_missing_checkpoint_is_one_line(tmp_path, message_of):
    with pytest.raises(InputError, match="no checkpoint at .*model.pt: train first") as error:
        load_checkpoint(tmp_path / "model.pt")
    message_of(error)


@pytest.mark.parametrize(("kept", "words"), [(0, "is empty"), (10, "is cut short"), (400, "is cut short")])
def test_a_checkpoint_cut_short_is_one_line(kept, words, tmp_path, message_of):
    path = tmp_path / "model.pt"
    save_atomically({"weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"cannot be read as a checkpoint: it {words}") as error:
        load_checkpoint(path)
    assert str(path) in message_of(error)


class CreatesFile:
    """Unpickled without care, it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"model": CreatesFile(tmp_path / "created")}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "created").exists()


# Whole models


def test_the_details_of_a_model_are_kept(make_network, tmp_path):
    save_model(make_network(), tmp_path / "with.pt", {"image_size": 16, "bgr": True, "split": None})
    save_model(make_network(), tmp_path / "without.pt")
    assert model_details(tmp_path / "with.pt") == {"image_size": 16, "bgr": True, "split": None}
    assert model_details(tmp_path / "without.pt") == {}


@pytest.mark.parametrize("content", [{"network": {}}, {"model": {}}, [1, 2], torch.zeros(2)])
def test_a_file_that_is_no_model_is_one_line(content, tmp_path, message_of):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match="is not a model file of this project") as error:
        load_model(path)
    assert str(path) in message_of(error)


@pytest.mark.parametrize("read", [model_details, lambda path: load_trained_weights(None, path)])
@pytest.mark.parametrize("content", [{"network": {}}, [1, 2]])
def test_details_and_weights_of_a_file_that_is_no_model_are_one_line(content, read, tmp_path, message_of):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match="is not a model file of this project") as error:
        read(path)
    assert str(path) in message_of(error)


def test_a_model_without_its_first_stage_cannot_be_loaded_whole(make_network, tmp_path, message_of):
    network = make_network()
    content = {"model": network.trainable_state_dict(), "architecture": network.architecture}
    save_atomically(content, tmp_path / "best.pt")
    with pytest.raises(InputError, match="first_stage") as error:
        load_model(tmp_path / "best.pt")
    message_of(error)


# Starting from trained weights


@pytest.mark.parametrize("whole", [True, False])
def test_training_may_start_from_a_model_or_from_the_best_of_a_stage(whole, make_network, images, tmp_path):
    trained = make_network().eval()
    torch.nn.init.normal_(trained.latent_mapper.conv_in.weight)
    state = trained.state_dict() if whole else trained.trainable_state_dict()
    save_atomically({"model": state}, tmp_path / "best.pt")
    network = make_network().eval()
    assert not torch.equal(network(images), trained(images))
    load_trained_weights(network, tmp_path / "best.pt")
    assert torch.equal(network(images), trained(images))


def test_the_first_stage_stays_as_configured(make_network, make_first_stage, tmp_path):
    save_model(make_network(), tmp_path / "model.pt")
    network = make_network(first_stage=make_first_stage("kl", seed=9))
    before = network.first_stage.autoencoder.decoder.conv_in.weight.clone()
    load_trained_weights(network, tmp_path / "model.pt")
    assert torch.equal(network.first_stage.autoencoder.decoder.conv_in.weight, before)


@pytest.mark.parametrize("other", [{"width": 4}, {"mapper_width": 16}, {"adapters": "image"}, {"kind": "tiny"}])
def test_weights_of_another_architecture_are_one_line(other, make_network, tmp_path, message_of):
    path = tmp_path / "model.pt"
    save_model(make_network(), path)
    with pytest.raises(InputError, match="was made with another architecture") as error:
        load_trained_weights(make_network(**other), path)
    assert str(path) in message_of(error)


def test_adapters_that_the_weights_lack_are_named(make_network, tmp_path):
    checkpoints.save_model(make_network(adapters="none"), tmp_path / "model.pt")
    with pytest.raises(InputError, match="missing .*image_adapters"):
        load_trained_weights(make_network(), tmp_path / "model.pt")


# Networks of the other methods

TWO_DECODERS = ("bilinear", "transposed")
TRAINED = {
    "u-net": make_unet,
    "two decoders": lambda **arguments: make_unet(upsampling=TWO_DECODERS, **arguments),
    "mean teacher": lambda **arguments: MeanTeacher(make_unet(**arguments)),
    "pair": lambda **arguments: NetworkPair(make_unet(**arguments), make_unet(seed=8)),
    "teacher of two decoders": lambda **arguments: MeanTeacher(make_unet(upsampling=TWO_DECODERS, **arguments)),
}


@pytest.fixture(params=TRAINED.values(), ids=TRAINED)
def make_trained(request):
    """Function (**arguments of `make_unet`) -> what a method trains; another seed gives other weights throughout."""
    return request.param


def moved_statistics(network):
    """The network in evaluation mode, the running statistics of its batch normalisation away from their start."""
    network.train()(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3)))
    return network.eval()


@pytest.fixture
def larger_images():
    """Two RGB images of 32 x 32 pixels in [0, 1]."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def test_a_mean_teacher_may_start_from_the_best_of_a_supervised_stage(larger_images, tmp_path):
    trained, network = moved_statistics(make_unet()), MeanTeacher(make_unet(seed=4)).eval()
    save_atomically({"model": trained.state_dict()}, tmp_path / "best.pt")
    load_trained_weights(network, tmp_path / "best.pt")
    assert torch.equal(network(larger_images), trained(larger_images))


@pytest.mark.parametrize("other", [{"num_classes": 3}, {"widths": (4, 8, 8, 8, 16)}, {"widths": (4, 8, 8, 8)}])
def test_a_model_of_another_u_net_is_one_line(make_trained, other, tmp_path, message_of):
    save_model(make_unet(dropout=False, **other), tmp_path / "model.pt")
    with pytest.raises(InputError, match="was made with another architecture") as error:
        load_trained_weights(make_trained(), tmp_path / "model.pt")
    assert str(tmp_path / "model.pt") in message_of(error)


def test_a_model_of_semigda_is_no_start_for_a_u_net(make_network, make_trained, tmp_path, message_of):
    save_model(make_network(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="was made with another architecture") as error:
        load_trained_weights(make_trained(), tmp_path / "model.pt")
    message_of(error)


def test_a_model_from_before_there_were_other_networks_is_a_semigda(make_network, images, tmp_path, no_download):
    network, path = make_network().eval(), tmp_path / "model.pt"
    save_model(network, path)
    content = load_checkpoint(path)
    assert content["architecture"].pop("network") == "SemiGDA"
    del content["checksum"]
    save_atomically(content, path)
    loaded = load_model(path)
    assert type(loaded) is SemiGDA
    assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize(
    "name", ["Transformer", "build_first_stage", "unet", "__name__", "LabelCodec", "MeanTeacher", 3]
)
def test_a_network_that_is_not_known_is_one_line(name, tmp_path, message_of):
    path = tmp_path / "model.pt"
    network = make_unet()
    save_atomically({"model": network.state_dict(), "architecture": network.architecture | {"network": name}}, path)
    with pytest.raises(InputError, match=f"holds a network {name!r} that this version does not know") as error:
        load_model(path)
    assert str(path) in message_of(error)
