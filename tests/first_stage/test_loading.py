from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file
from torch import nn

from custom.errors import InputError
from custom.first_stage import load_first_stage

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Without the hub: every download fails as it does offline. Returns what was asked for."""
    asked = []

    def snapshot_download(hub_id, **options):
        asked.append((hub_id, options))
        raise ConnectionError("offline\nwith a second line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def assert_same(loaded, original, tolerance=0.0):
    """Both encode and decode alike and have the same scaling factor."""
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    latents = original.encode(images).mean
    assert loaded.scaling_factor == original.scaling_factor
    torch.testing.assert_close(loaded.encode(images).mean, latents, rtol=0, atol=tolerance)
    torch.testing.assert_close(loaded.decode(latents), original.decode(latents), rtol=0, atol=tolerance)


# Configurations


@pytest.mark.parametrize("kind", ["kl", "tiny", "taef2"])
def test_a_configuration_builds_random_weights(kind, make_first_stage):
    architecture = make_first_stage(kind).architecture
    assert load_first_stage(architecture).architecture == architecture


def test_a_json_file_is_a_configuration(make_first_stage, tmp_path):
    architecture = make_first_stage("kl").architecture
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(architecture))
    assert load_first_stage(path).architecture == architecture
    assert load_first_stage(str(path)).architecture == architecture


@pytest.mark.parametrize(("text", "words"), [("{'single': 1}", "not readable as JSON"), ("[1, 2]", "no named values")])
def test_a_json_file_that_is_no_configuration_is_one_line(text, words, tmp_path, message_of):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_first_stage(path)
    assert words in message_of(error)
    assert str(path) in message_of(error)


# Folders that diffusers wrote


@pytest.mark.parametrize(("kind", "autoencoder_class"), [("kl", AutoencoderKL), ("tiny", AutoencoderTiny)])
def test_a_folder_of_diffusers_gives_what_diffusers_loads(kind, autoencoder_class, make_first_stage, tmp_path):
    original = make_first_stage(kind)
    original.autoencoder.save_pretrained(tmp_path)
    loaded = load_first_stage(tmp_path)
    assert_same(loaded, original)
    expected = autoencoder_class.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.autoencoder.state_dict().items())


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_half_precision_weights_are_used_in_single_precision(kind, make_first_stage, tmp_path):
    original = make_first_stage(kind)
    original.autoencoder.half().save_pretrained(tmp_path)
    loaded = load_first_stage(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    original.autoencoder.float()
    assert_same(loaded, original)


def test_weights_may_be_a_bin_file(make_first_stage, tmp_path):
    original = make_first_stage("kl")
    original.autoencoder.save_pretrained(tmp_path, safe_serialization=False)
    assert (tmp_path / "diffusion_pytorch_model.bin").is_file()
    assert_same(load_first_stage(tmp_path), original)


def test_the_attention_names_of_older_diffusers_are_understood(make_first_stage, tmp_path):
    """Stable Diffusion's autoencoders on the hub still have them."""
    original = make_first_stage("kl")
    original.autoencoder.save_pretrained(tmp_path)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in original.autoencoder.state_dict().items():
        for current, name in former.items():
            key = key.replace(f".{current}.", f".{name}.")
        state[key] = value
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in state
    save_file(state, tmp_path / WEIGHTS)
    assert_same(load_first_stage(tmp_path), original)


def test_a_subfolder_is_entered(make_first_stage, tmp_path):
    original = make_first_stage("kl")
    original.autoencoder.save_pretrained(tmp_path / "vae")
    assert_same(load_first_stage(tmp_path, subfolder="vae"), original)


def test_a_subfolder_that_is_not_there_is_ignored_for_a_local_folder(make_first_stage, tmp_path):
    """The default subfolder fits the hub's repository; a local folder needs none."""
    original = make_first_stage("kl")
    original.autoencoder.save_pretrained(tmp_path)
    assert_same(load_first_stage(tmp_path, subfolder="vae"), original)


def test_a_folder_without_a_configuration_is_one_line(tmp_path, message_of):
    with pytest.raises(InputError, match="no config.json and no taef2_encoder.pth") as error:
        load_first_stage(tmp_path)
    assert str(tmp_path) in message_of(error)
    assert "run training --config_file .../train_autoencoder.yaml" in message_of(error)


def test_a_folder_without_weights_is_one_line(make_first_stage, tmp_path, message_of):
    make_first_stage("kl").autoencoder.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"{WEIGHTS} is missing") as error:
        load_first_stage(tmp_path)
    message_of(error)


def test_weights_that_do_not_fit_the_configuration_are_one_line(make_first_stage, tmp_path, message_of):
    make_first_stage("kl", latent_channels=8).autoencoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "latent_channels": 4}))
    with pytest.raises(InputError, match="do not fit the configuration .*size mismatch for encoder.conv_out") as error:
        load_first_stage(tmp_path)
    assert str(tmp_path) in message_of(error)


# Original Stable Diffusion checkpoints


def original_format(autoencoder, prefix="first_stage_model."):
    """State dictionary under the names of the latent diffusion code, its attention layers as 1x1 convolutions."""
    levels = len(autoencoder.config.block_out_channels)
    renames = [
        (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets", lambda match: f"up.{levels - 1 - int(match[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample"),
        (r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    ]
    state = {}
    for key, value in autoencoder.state_dict().items():
        if "attentions" in key and value.dim() == 2:
            value = value[:, :, None, None]
        for former, name in renames:
            key = re.sub(former, name, key)
        state[prefix + key] = value.contiguous()
    return state


@pytest.fixture
def stable_diffusion_like(make_first_stage):
    """Random first stage with the scaling factor that the original format implies."""
    return make_first_stage("kl", scaling_factor=0.18215)


def test_the_original_names_are_those_of_stable_diffusion(stable_diffusion_like):
    keys = original_format(stable_diffusion_like.autoencoder).keys()
    assert {
        "first_stage_model.encoder.down.0.block.0.conv1.weight",
        "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight",
        "first_stage_model.encoder.mid.attn_1.proj_out.weight",
        "first_stage_model.decoder.up.2.upsample.conv.bias",
        "first_stage_model.decoder.norm_out.weight",
        "first_stage_model.quant_conv.weight",
    } <= keys


def test_an_original_ckpt_gives_the_same_outputs(stable_diffusion_like, tmp_path):
    state = original_format(stable_diffusion_like.autoencoder)
    state["model.diffusion_model.out.2.weight"] = torch.zeros(4, 8, 3, 3)  # the rest of Stable Diffusion
    path = tmp_path / "sd.ckpt"
    torch.save({"state_dict": state, "global_step": 7}, path)
    assert_same(load_first_stage(path), stable_diffusion_like)


def test_an_original_safetensors_file_gives_the_same_outputs(stable_diffusion_like, tmp_path):
    path = tmp_path / "sd.safetensors"
    save_file(original_format(stable_diffusion_like.autoencoder), path)
    assert_same(load_first_stage(path), stable_diffusion_like)


def test_the_autoencoders_keys_alone_are_enough(stable_diffusion_like, tmp_path):
    path = tmp_path / "vae.pt"
    torch.save(original_format(stable_diffusion_like.autoencoder, prefix=""), path)
    assert_same(load_first_stage(path), stable_diffusion_like)


def test_half_precision_checkpoints_are_used_in_single_precision(stable_diffusion_like, tmp_path):
    path = tmp_path / "sd.safetensors"
    stable_diffusion_like.autoencoder.half()
    save_file(original_format(stable_diffusion_like.autoencoder), path)
    stable_diffusion_like.autoencoder.float()
    assert_same(load_first_stage(path), stable_diffusion_like)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers_per_block": 2},
        {"latent_channels": 8},
        {"use_quant_conv": False, "use_post_quant_conv": False},
        {
            "block_out_channels": [8, 16],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
        },
    ],
)
def test_the_configuration_follows_from_the_shapes(changes, make_first_stage, tmp_path):
    original = make_first_stage("kl", scaling_factor=0.18215, **changes)
    path = tmp_path / "sd.ckpt"
    torch.save({"state_dict": original_format(original.autoencoder)}, path)
    loaded = load_first_stage(path)
    assert {key: loaded.architecture[key] for key in changes} == changes
    assert_same(loaded, original)


@pytest.mark.parametrize(("width", "groups"), [(32, 32), (64, 32), (16, 16), (24, 8)])
def test_the_number_of_groups_is_stable_diffusions_or_what_the_width_allows(width, groups, make_first_stage, tmp_path):
    """The weights do not tell it; a checkpoint of Stable Diffusion has 32."""
    widths = {"block_out_channels": [width] * 3, "norm_num_groups": groups}
    original = make_first_stage("kl", scaling_factor=0.18215, **widths)
    path = tmp_path / "sd.ckpt"
    torch.save(original_format(original.autoencoder), path)
    loaded = load_first_stage(path)
    assert loaded.architecture["norm_num_groups"] == groups
    assert_same(loaded, original)


def test_a_checkpoint_that_lacks_a_layer_is_one_line(stable_diffusion_like, tmp_path, message_of):
    state = original_format(stable_diffusion_like.autoencoder)
    del state["first_stage_model.encoder.norm_out.weight"]
    path = tmp_path / "sd.ckpt"
    torch.save({"state_dict": state}, path)
    with pytest.raises(InputError, match="do not fit the configuration .*encoder.conv_norm_out.weight") as error:
        load_first_stage(path)
    assert str(path) in message_of(error)


@pytest.mark.parametrize(
    "content", [{"state_dict": {"layer.weight": torch.zeros(2)}}, {"layer.weight": torch.zeros(2)}, {"epoch": 3}]
)
def test_a_checkpoint_of_something_else_is_one_line(content, tmp_path, message_of):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match="no Stable Diffusion autoencoder in this checkpoint") as error:
        load_first_stage(path)
    assert str(path) in message_of(error)


def test_a_file_without_named_tensors_is_one_line(tmp_path, message_of):
    path = tmp_path / "list.pt"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(InputError, match="it holds a list, no named tensors") as error:
        load_first_stage(path)
    message_of(error)


@pytest.mark.parametrize("name", ["broken.ckpt", "broken.safetensors", "broken.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut short"])
def test_a_broken_file_is_one_line(name, content, tmp_path, message_of):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable weights file") as error:
        load_first_stage(path)
    assert str(path) in message_of(error)


def test_code_in_a_checkpoint_is_not_run(tmp_path, message_of):
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"key": CreatesFile(tmp_path / "created")}}, path)
    with pytest.raises(InputError, match="not a readable weights file") as error:
        load_first_stage(path)
    message_of(error)
    assert not (tmp_path / "created").exists()


class CreatesFile:
    """Unpickled without care, it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


# taef2's two files


class Taef2Block(nn.Module):
    """Block of the taef2 files: `pool.0`, `pool.1`, `pool.3` and `conv.0`, `conv.2`, `conv.4`."""

    def __init__(self, pooled):
        super().__init__()
        self.pool = None
        if pooled:
            expand, shrink = nn.Conv2d(64, 256, 1, bias=False), nn.Conv2d(256, 64, 1, bias=False)
            self.pool = nn.Sequential(expand, nn.GroupNorm(4, 256), nn.ReLU(), shrink)
        first, second, third = (nn.Conv2d(64, 64, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x):
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


class Clamp(nn.Module):
    def forward(self, x):
        return 3 * torch.tanh(x / 3)


def taef2_encoder():
    layers = [nn.Conv2d(3, 64, 3, padding=1), Taef2Block(pooled=False)]
    for pooled in (False, False, True):
        layers += [nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False), *(Taef2Block(pooled) for _ in range(3))]
    return nn.Sequential(*layers, nn.Conv2d(64, 32, 3, padding=1))


def taef2_decoder():
    layers = [Clamp(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()]
    for pooled in (True, False, False):
        layers += [*(Taef2Block(pooled) for _ in range(3)), nn.Upsample(scale_factor=2)]
        layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Taef2Block(pooled=False), nn.Conv2d(64, 3, 3, padding=1))


@pytest.fixture
def taef2_folder(tmp_path):
    """Folder with the two files of a random taef2; also its encoder and decoder, which work on images in [0, 1]."""
    torch.manual_seed(0)
    encoder, decoder = taef2_encoder(), taef2_decoder()
    torch.save(encoder.state_dict(), tmp_path / "taef2_encoder.pth")
    torch.save(decoder.state_dict(), tmp_path / "taef2_decoder.pth")
    return tmp_path, encoder, decoder


@torch.no_grad()
def test_taef2_files_give_the_same_outputs(taef2_folder):
    folder, encoder, decoder = taef2_folder
    first_stage = load_first_stage(folder)
    images = torch.rand(1, 3, 16, 8)
    latents = 4 * torch.randn(1, 32, 2, 1)
    torch.testing.assert_close(first_stage.encode(2 * images - 1).mean, encoder(images))
    torch.testing.assert_close(first_stage.decode(latents), 2 * decoder(latents) - 1)


def test_taef2_without_its_decoder_file_is_one_line(taef2_folder, message_of):
    folder, *_ = taef2_folder
    (folder / "taef2_decoder.pth").unlink()
    with pytest.raises(InputError, match="taef2_decoder.pth") as error:
        load_first_stage(folder)
    message_of(error)


def test_taef2_files_of_another_shape_are_one_line(taef2_folder, message_of):
    folder, encoder, _ = taef2_folder
    torch.save(encoder[:-1].state_dict(), folder / "taef2_encoder.pth")
    with pytest.raises(InputError, match="do not fit the configuration") as error:
        load_first_stage(folder)
    assert str(folder) in message_of(error)


# The hub


def test_without_network_the_ways_out_are_named(no_network, message_of):
    with pytest.raises(InputError) as error:
        load_first_stage("someone/some-autoencoder", subfolder="vae")
    message = message_of(error)
    for words in ("someone/some-autoencoder", "no such local file or folder", "cannot be reached", "train_autoencoder"):
        assert words in message
    assert [hub_id for hub_id, _ in no_network] == ["someone/some-autoencoder"] * 2


def test_the_local_cache_is_asked_before_the_network(no_network):
    with pytest.raises(InputError):
        load_first_stage("someone/some-autoencoder", subfolder="vae")
    assert [options.get("local_files_only", False) for _, options in no_network] == [True, False]
    assert no_network[0][1]["allow_patterns"] == ["vae/config.json", f"vae/{WEIGHTS}"]


@pytest.mark.parametrize("subfolder", ["vae", None])
def test_a_snapshot_in_the_cache_needs_no_network(subfolder, make_first_stage, tmp_path, monkeypatch):
    original = make_first_stage("kl")
    original.autoencoder.save_pretrained(tmp_path / subfolder if subfolder else tmp_path)

    def snapshot_download(hub_id, local_files_only=False, **_options):
        assert local_files_only, "the network was asked for what the cache holds"
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert_same(load_first_stage("someone/some-autoencoder", subfolder), original)


def test_a_snapshot_cut_short_in_the_cache_is_completed_from_the_network(make_first_stage, tmp_path, monkeypatch):
    original = make_first_stage("kl")

    def snapshot_download(hub_id, local_files_only=False, **_options):
        if not local_files_only:
            original.autoencoder.save_pretrained(tmp_path)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert_same(load_first_stage("someone/some-autoencoder"), original)
