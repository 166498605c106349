from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.networks import DiffRectNetworks, LabelRectifier, UNet
from custom.networks.latent_denoiser import LatentDenoiser, TimeEmbedding
from custom.networks.latent_diffusion import LatentDiffusion
from tests.conftest import count_parameters

TINY = {"widths": (4, 4, 8, 8, 8), "dropout": (0.0,) * 5, "denoiser_widths": (8, 8), "time_channels": 8}
CALIBRATION = torch.tensor(300.0)


def make_rectifier(num_classes=2, **arguments):
    torch.manual_seed(0)
    return LabelRectifier(num_classes, **{**TINY, **arguments})


def make_input(size=(32, 32), num_classes=2, rows=2):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(rows, 3, *size, generator=generator)
    labels = torch.randint(num_classes, (2, rows, 1, *size), generator=generator).float()
    return images, *labels


def cosine(t):
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


BETAS = [min(1 - cosine((t + 1) / 10) / cosine(t / 10), 0.999) for t in range(10)]
KEPT = [math.prod(1 - beta for beta in BETAS[: t + 1]) for t in range(10)]
"""abar, the share of the latent's variance that is left after each step."""


class TestLatentDiffusion:
    def test_schedule_is_the_cosine_of_ten_steps(self):
        schedule = LatentDiffusion().schedule
        assert schedule.betas.tolist() == pytest.approx(BETAS, rel=1e-4)
        assert (
            pytest.approx([0.0279, 0.0755, 0.1244, 0.1772, 0.2373, 0.3099, 0.4040, 0.5370, 0.7438, 0.999], abs=5e-5)
            == BETAS
        )
        assert schedule.alphas_cumprod.tolist() == pytest.approx(KEPT, rel=1e-4)
        assert pytest.approx([0.972, 0.899, 0.787, 0.647, 0.494, 0.341, 0.203, 0.094, 0.0241, 2.4e-5], abs=5e-4) == KEPT

    def test_noise_is_added_in_the_share_of_each_rows_step(self):
        torch.manual_seed(0)
        noisy, steps = LatentDiffusion().add_noise(torch.full((2000, 1, 8, 8), 3.0))
        assert set(steps.tolist()) == set(range(10))
        for step in range(10):
            rows = noisy[steps == step]
            assert rows.mean() == pytest.approx(3 * math.sqrt(KEPT[step]), abs=0.05)
            assert rows.std() == pytest.approx(math.sqrt(1 - KEPT[step]), rel=0.05)

    def test_two_steps_are_those_of_ddim_from_nine_to_zero(self):
        asked = []

        def denoise(noisy, steps):
            asked.append(steps.tolist())
            return 0.3 * noisy + 0.1 * steps[:, None, None, None] + 1

        noise = torch.randn(2, 3, 4, 4)
        clean = 0.3 * noise + 1.9
        predicted_noise = (noise - math.sqrt(KEPT[9]) * clean) / math.sqrt(1 - KEPT[9])
        latent = math.sqrt(KEPT[0]) * clean + math.sqrt(1 - KEPT[0]) * predicted_noise
        expected = 0.3 * latent + 1
        assert torch.allclose(LatentDiffusion().sample(denoise, noise), expected, atol=1e-5)
        assert asked == [[9, 9], [0, 0]]

    @pytest.mark.parametrize(
        ("sampling_steps", "steps"), [(1, [9]), (4, [9, 6, 3, 0]), (10, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])]
    )
    def test_sampling_steps_are_spread_evenly(self, sampling_steps, steps):
        assert LatentDiffusion(10, sampling_steps).sampling == steps

    def test_predictions_are_clipped_only_on_demand(self):
        def denoise(noisy, steps):
            return torch.full_like(noisy, 5.0)

        noise = torch.randn(1, 2, 4, 4)
        assert LatentDiffusion().sample(denoise, noise).max() == 5
        assert LatentDiffusion(clip=True).sample(denoise, noise).max() == 1

    def test_clipping_counts_in_the_first_step_too(self):
        noise = torch.zeros(1, 1, 2, 2)
        latents = []

        def denoise(noisy, steps):
            latents.append(noisy)
            return torch.full_like(noisy, 5.0)

        LatentDiffusion(clip=True).sample(denoise, noise)
        kept = math.sqrt(KEPT[0]) - math.sqrt(1 - KEPT[0]) * math.sqrt(KEPT[9]) / math.sqrt(1 - KEPT[9])
        assert latents[1].flatten().tolist() == pytest.approx([kept] * 4, rel=1e-3)

    def test_ddpm_has_mean_and_variance_of_the_posterior(self):
        latents = []

        def denoise(noisy, steps):
            latents.append(noisy)
            return torch.full_like(noisy, 2.0)

        torch.manual_seed(0)
        LatentDiffusion(10, 10, sampler="ddpm").sample(denoise, torch.full((1, 1, 100, 100), 0.5))
        mean = (
            math.sqrt(KEPT[8]) * BETAS[9] / (1 - KEPT[9]) * 2.0
            + math.sqrt(1 - BETAS[9]) * (1 - KEPT[8]) / (1 - KEPT[9]) * 0.5
        )
        variance = (1 - KEPT[8]) / (1 - KEPT[9]) * BETAS[9]
        assert latents[1].mean() == pytest.approx(mean, abs=0.03)
        assert latents[1].var() == pytest.approx(variance, rel=0.05)

    def test_ddim_adds_no_noise(self):
        noise = torch.randn(1, 1, 4, 4)
        diffusion = LatentDiffusion(10, 5)
        first, second = (diffusion.sample(lambda noisy, steps: noisy / 2, noise) for _ in range(2))
        assert torch.equal(first, second)

    @pytest.mark.parametrize("arguments", [{"sampler": "euler"}, {"sampling_steps": 0}, {"sampling_steps": 11}])
    def test_impossible_sampling_is_refused(self, arguments):
        with pytest.raises(InputError, match=next(iter(arguments))):
            LatentDiffusion(**arguments)


class TestTimeEmbedding:
    def test_begins_with_sines_and_cosines_of_falling_frequency(self):
        sinusoids = TimeEmbedding(8)[0](torch.tensor([0.0, 3.0]))
        assert sinusoids.shape == (2, 128)
        assert sinusoids[0].tolist() == [0.0] * 64 + [1.0] * 64
        assert sinusoids[1, 0] == pytest.approx(math.sin(3))
        assert sinusoids[1, 64 + 63] == pytest.approx(math.cos(3 / 10_000))

    def test_two_linear_layers_with_silu_between(self):
        embedding = TimeEmbedding(8)
        first, second = (layer for layer in embedding.modules() if isinstance(layer, nn.Linear))
        hidden = first(embedding[0](torch.tensor([5.0])))
        assert torch.allclose(embedding(torch.tensor([5.0])), second(hidden * hidden.sigmoid()))


class TestLatentDenoiser:
    @pytest.mark.parametrize("size", [(16, 16), (14, 14), (6, 7), (5, 9), (2, 2), (1, 3)])
    def test_latents_of_any_size_keep_it(self, size):
        latent = torch.randn(2, 8, *size)
        assert LatentDenoiser((8, 12, 16), 8)(latent, latent, torch.tensor([0, 9])).shape == latent.shape

    def test_a_latent_of_14_goes_through_7_and_3(self):
        denoiser = LatentDenoiser((8, 12, 16), 8)
        sizes = []
        for block in denoiser.down:
            block.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
        denoiser(torch.randn(2, 8, 14, 14), torch.randn(2, 8, 14, 14), torch.tensor([1, 2]))
        assert sizes == [(12, 7, 7), (16, 3, 3)]

    @pytest.mark.parametrize("condition_in_down_path", [True, False])
    def test_way_down_sees_the_condition_only_as_asked(self, condition_in_down_path):
        denoiser = LatentDenoiser((8, 12, 16), 8, condition_in_down_path)
        seen = []
        denoiser.down[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
        noisy = torch.randn(2, 8, 8, 8)
        outputs = [denoiser(noisy, value * torch.ones_like(noisy), torch.tensor([1, 2])) for value in (0, 1)]
        assert torch.allclose(seen[0], seen[1], atol=1e-4) != condition_in_down_path
        assert not torch.allclose(*outputs, atol=1e-3)

    def test_diffusion_step_counts(self):
        denoiser = LatentDenoiser((8, 12, 16), 8)
        noisy = torch.randn(2, 8, 8, 8)
        outputs = [denoiser(noisy, noisy, torch.tensor([step, step])) for step in (0, 9)]
        assert not torch.allclose(*outputs, atol=1e-3)


class TestLabelRectifier:
    def test_parameters_are_those_of_the_release(self):
        rectifier = LabelRectifier()
        assert count_parameters(rectifier) == 17_468_498
        assert count_parameters(rectifier.time_embedding) == 328_704
        assert count_parameters(rectifier.label_encoder) == 1_435_632
        assert count_parameters(rectifier.image_encoder) == 1_435_200
        assert count_parameters(rectifier.decoder) + count_parameters(rectifier.head) == 756_130
        assert count_parameters(rectifier.denoiser) == 13_512_832

    @pytest.mark.parametrize("size", [(224, 224), (256, 256), (90, 75), (32, 32)])
    def test_images_of_any_size_work(self, size):
        rectifier, (images, labels, better) = make_rectifier(), make_input(size)
        result = rectifier.reconstruct(images, labels, better, CALIBRATION)
        assert result.logits.shape == (2, 2, *size)
        assert result.latent.shape == result.target.shape == (2, 8, size[0] // 16, size[1] // 16)
        assert rectifier.rectify(images, labels, CALIBRATION).shape == (2, 2, *size)

    def test_single_small_image_works(self):
        rectifier, (images, labels, better) = make_rectifier(), make_input(rows=1)
        assert rectifier.reconstruct(images, labels, better, CALIBRATION).logits.shape == (1, 2, 32, 32)

    def test_label_encoder_reads_image_and_colours(self):
        rectifier, (images, labels, better) = make_rectifier(4), make_input(num_classes=4)
        read = []
        rectifier.label_encoder.register_forward_hook(lambda module, inputs, output: read.append(inputs[0]))
        rectifier.reconstruct(images, labels, better, CALIBRATION)
        for seen, label in zip(read, (labels, better), strict=True):
            assert torch.equal(seen[:, :3], images)
            assert torch.equal(seen[:, 3:], torch.cat([label == index for index in (1, 2, 3)], dim=1).float())

    def test_image_features_are_added_at_every_resolution(self):
        rectifier, (images, labels, _) = make_rectifier(), make_input()
        time = rectifier.time_embedding(CALIBRATION.reshape(1))
        features = rectifier.image_encoder(images, time)
        alone = rectifier._encode(images, labels, [torch.zeros_like(feature) for feature in features], time)
        finest = rectifier._encode(images, labels, features, time)[0]
        assert torch.allclose(finest, alone[0] + features[0], atol=1e-5)
        for level in range(5):
            only_here = [feature * (index == level) for index, feature in enumerate(features)]
            encoded = rectifier._encode(images, labels, only_here, time)
            assert torch.allclose(encoded[level], alone[level] + features[level], atol=1e-5)
            assert level == 4 or not torch.allclose(encoded[level + 1], alone[level + 1], atol=1e-3)

    def test_target_is_the_better_labels_latent_and_has_no_gradient(self):
        rectifier, (images, labels, better) = make_rectifier(), make_input()
        result = rectifier.reconstruct(images, labels, better, CALIBRATION)
        time = rectifier.time_embedding(CALIBRATION.reshape(1))
        expected = rectifier._encode(images, better, rectifier.image_encoder(images, time), time)[-1]
        assert torch.allclose(result.target, expected)
        assert not result.target.requires_grad
        assert result.latent.requires_grad

    def test_denoiser_gets_the_noisy_target_and_the_encoded_label(self, monkeypatch):
        rectifier, (images, labels, better) = make_rectifier(), make_input()
        steps = torch.tensor([2, 7])
        monkeypatch.setattr(rectifier.diffusion, "add_noise", lambda latent: (10 * latent, steps))
        seen = []
        rectifier.denoiser.register_forward_hook(lambda module, inputs, output: seen.extend(inputs))
        target = rectifier.reconstruct(images, labels, better, CALIBRATION).target
        time = rectifier.time_embedding(CALIBRATION.reshape(1))
        condition = rectifier._encode(images, labels, rectifier.image_encoder(images, time), time)[-1]
        assert torch.equal(seen[0], 10 * target)
        assert torch.allclose(seen[1], condition)
        assert seen[2] is steps

    def test_decoder_gets_the_labels_skips_and_the_predicted_latent(self):
        rectifier, (images, labels, better) = make_rectifier(), make_input()
        seen = []
        rectifier.decoder.register_forward_hook(lambda module, inputs, output: seen.extend(inputs[0]))
        latent = rectifier.reconstruct(images, labels, better, CALIBRATION).latent
        time = rectifier.time_embedding(CALIBRATION.reshape(1))
        features = rectifier._encode(images, labels, rectifier.image_encoder(images, time), time)
        assert all(torch.allclose(*pair) for pair in zip(seen[:4], features[:4], strict=True))
        assert torch.equal(seen[4], latent)

    def test_calibration_counts(self):
        rectifier, (images, labels, _) = make_rectifier(), make_input()
        outputs = []
        for value in (0.0, 999.0):
            torch.manual_seed(2)
            outputs.append(rectifier.rectify(images, labels, torch.tensor(value)))
        assert not torch.allclose(*outputs, atol=1e-3)

    def test_every_parameter_learns_from_the_logits(self):
        rectifier, (images, labels, better) = make_rectifier(), make_input()
        rectifier.reconstruct(images, labels, better, CALIBRATION).logits.square().mean().backward()
        assert [name for name, parameter in rectifier.named_parameters() if parameter.grad is None] == []

    def test_sampling_has_no_graph(self):
        rectifier, (images, labels, _) = make_rectifier(), make_input()
        assert not rectifier.rectify(images, labels, CALIBRATION).requires_grad

    def test_sampling_starts_from_noise_of_the_global_generator(self):
        rectifier, (images, labels, _) = make_rectifier(), make_input()
        outputs = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            outputs.append(rectifier.rectify(images, labels, CALIBRATION))
        assert torch.equal(outputs[0], outputs[1])
        assert not torch.equal(outputs[0], outputs[2])

    def test_gradient_reaches_the_encoders_under_autocast(self):
        rectifier, (images, labels, better) = make_rectifier(), make_input()
        with torch.autocast("cpu", torch.bfloat16):
            result = rectifier.reconstruct(images, labels, better, CALIBRATION)
        result.logits.float().square().mean().backward()
        for encoder in (rectifier.label_encoder, rectifier.image_encoder):
            assert all(parameter.grad is not None for parameter in encoder.parameters())
        assert result.target.dtype == torch.float32


class TestDiffRectNetworks:
    def test_inference_needs_the_segmenter_alone(self):
        segmenter = UNet(3, widths=(4, 4, 4, 4, 4))
        networks = DiffRectNetworks(segmenter, make_rectifier(3))
        assert networks.inference_network() is segmenter
        assert networks.segmenter is segmenter
        assert networks.num_classes == 3

    def test_palette_is_saved_with_the_weights(self):
        networks = DiffRectNetworks(UNet(widths=(4, 4, 4, 4, 4)), make_rectifier(5))
        assert networks.state_dict()["rectifier.palette"].shape == (5, 3)
