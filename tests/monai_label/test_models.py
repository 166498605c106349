from __future__ import annotations

import pytest
import torch

from custom.checkpoints.untrained import mark_as_untrained
from custom.errors import InputError
from custom.monai_label import ModelPublisher, is_trained, reset_weights
from custom.networks import load_model, model_details, save_model


@pytest.fixture
def server_model(make_network, tmp_path):
    """The untrained model of a server."""
    path = tmp_path / "models" / "model.pt"
    save_model(make_network("tiny"), path)
    mark_as_untrained(path)
    return path


def values(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(first, second):
    return {key for key in first if torch.equal(first[key], second[key])}


def test_a_model_file_is_trained_unless_a_note_says_otherwise(tmp_path):
    model = tmp_path / "model.pt"
    assert not is_trained(model)
    model.write_bytes(b"")
    assert is_trained(model)
    mark_as_untrained(model)
    assert not is_trained(model)
    assert "has not been trained" in (tmp_path / "UNTRAINED.txt").read_text()


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_a_reset_changes_all_random_weights_and_keeps_the_first_stage(kind, make_network):
    network = make_network(kind)
    with torch.no_grad():  # as after a training: no weight has the value it began with
        for parameter in network.parameters():
            parameter.add_(0.1)
    before = values(network)
    reset_weights(network, seed=3)
    kept = same(before, values(network))
    parameters = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert not kept & parameters
    assert {key for key in before if key.startswith("first_stage.")} <= kept


def test_a_reset_clears_what_normalisation_layers_have_counted(make_network):
    network, new = make_network(), make_network()
    network.train()(torch.rand(2, 3, 16, 16))
    reset_weights(network, seed=0)
    reset_weights(new, seed=0)
    assert same(values(network), values(new)) == set(network.state_dict())


def test_the_new_weights_follow_from_the_seed(make_network):
    first, second, other = make_network("kl"), make_network("kl", dropout=0.3), make_network("kl")
    for network, seed in ((first, 5), (second, 5), (other, 6)):
        torch.rand(3)
        reset_weights(network, seed)
    weight = "latent_mapper"
    keys = {key for key, value in first.state_dict().items() if key.startswith(weight) and value.dim() > 1}
    assert keys <= same(values(first), values(second))
    assert not keys & same(values(first), values(other))


def test_a_trained_network_goes_to_its_run_and_to_the_server(server_model, make_network, tmp_path):
    network = make_network("kl")
    run = tmp_path / "run"
    ModelPublisher(server_model)(network, run, {"image_size": 32})
    for path in (run / "model.pt", server_model):
        assert same(values(network), values(load_model(path))) == set(network.state_dict())
        assert model_details(path) == {"image_size": 32}
    assert is_trained(server_model)


def test_a_model_without_a_note_is_replaced_too(server_model, make_network, tmp_path):
    publish = ModelPublisher(server_model)
    publish(make_network("kl"), tmp_path / "first", {})
    publish(make_network("tiny"), tmp_path / "second", {})
    assert server_model.read_bytes() == (tmp_path / "second" / "model.pt").read_bytes()
    assert is_trained(server_model)


@pytest.mark.parametrize("succeeding", [0, 1])
def test_a_failing_save_leaves_the_servers_model(succeeding, server_model, make_network, tmp_path, monkeypatch):
    before = server_model.read_bytes()
    save, calls = torch.save, []

    def fail(content, file):
        calls.append(file)
        if len(calls) > succeeding:
            file.write(b"half")
            raise OSError("No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="No space left on device"):
        ModelPublisher(server_model)(make_network("kl"), tmp_path / "run", {})
    assert len(calls) == succeeding + 1
    assert server_model.read_bytes() == before
    assert not is_trained(server_model)
    assert sorted(path.name for path in server_model.parent.iterdir()) == ["UNTRAINED.txt", "model.pt"]
