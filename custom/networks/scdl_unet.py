"""The U-Net whose decoders also receive priors: learnt class distributions, compared with the bottleneck (SCDL)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.networks.class_distributions import ClassDistributionOutputs, ClassDistributions
from custom.networks.encoders import DROPOUT, WIDTHS
from custom.networks.unet import UNet

__all__ = ["SCDLUNet"]


class PriorInjection(nn.ModuleList):
    """A 1x1 convolution for every stage of a decoder, which makes the priors something to add to the stage's input.

    All start at zero: an untrained injection changes nothing.

    Args:
        prior_channels: channels of the priors.
        stage_channels: channels of each stage's input, the coarsest first.
    """

    def __init__(self, prior_channels: int, stage_channels: Sequence[int]) -> None:
        super().__init__(nn.Conv2d(prior_channels, channels, 1) for channels in stage_channels)
        for convolution in self:
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)

    def forward(self, priors: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Priors [B, P, h, w] -> for each stage [B, its channels, H_i, W_i], where sizes are those (H_i, W_i)."""
        # Before the resizing, not after it: the two commute, and there are fewer positions here.
        return [
            interpolate(convolution(priors), size=size, mode="bilinear", align_corners=True)
            for convolution, size in zip(self, sizes, strict=True)
        ]


class SCDLUNet(UNet):
    """U-Net with `ClassDistributions` of its bottleneck, whose priors are added to the input of every decoder stage.

    Each position of the bottleneck is a token. No method takes a label, so none can reach the priors.

    A 2-D form of what the paper does to 3-D networks. It concatenates the priors to several decoder stages; the release
    adds them at one place, through a 1x1 convolution. We add them to all stages, through convolutions that start at
    zero: with the same U-Net weights the logits are at first exactly those of `UNet`.

    With 3 input channels, 2 classes and one decoder it has 2,709,730 parameters.

    >>> import torch
    >>> from custom.networks import SCDLUNet
    >>> network = SCDLUNet(num_classes=3, seed=0).eval()
    >>> logits, outputs = network.logits_with_distributions(torch.rand(2, 3, 64, 48))
    >>> logits.shape, outputs.grid
    (torch.Size([2, 3, 64, 48]), (4, 3))

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution of the encoder.
        upsampling: one entry for each decoder, see `UNetDecoder`. All decoders share the distributions.
        embedding_channels: see `ClassDistributions`.
        temperature: see `ClassDistributions`.
        samples: see `ClassDistributions`.
        token_samples: see `ClassDistributions`.
        inject_priors: false leaves the priors out, as three of the four released inference scripts do: the
            distributions are for the losses alone, and the network for inference is a plain `UNet`.
        encoder, encoder_weights, decoder_widths, seed: see `UNet`.

    Attributes:
        distributions: the `ClassDistributions`.
        injections: a `PriorInjection` for each decoder.
    """

    _one_for_each_decoder = (*UNet._one_for_each_decoder, "injections")

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        upsampling: Sequence[str] = ("bilinear",),
        embedding_channels: int = 256,
        temperature: float = 0.2,
        samples: int = 50,
        token_samples: int = 2,
        inject_priors: bool = True,
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            num_classes, in_channels, widths, dropout, upsampling, encoder, encoder_weights, decoder_widths, seed
        )
        settings = {
            "embedding_channels": embedding_channels,
            "temperature": temperature,
            "samples": samples,
            "token_samples": token_samples,
        }
        self.inject_priors = inject_priors
        self._unet_architecture = self.architecture
        self.distributions = ClassDistributions(self.encoder.widths[-1], num_classes, **settings)
        stage_channels = list(reversed(self.decoder_widths[1:]))
        decoders = upsampling if inject_priors else ()
        self.injections = nn.ModuleList(PriorInjection(3 * embedding_channels, stage_channels) for _ in decoders)
        self.architecture = {
            **self._unet_architecture,
            "network": "SCDLUNet",
            **settings,
            "inject_priors": inject_priors,
        }

    def inference_network(self) -> UNet:
        """The network with the first decoder alone; a `UNet` if no priors are injected. It shares the weights."""
        if self.inject_priors:
            return super().inference_network()
        network = UNet.from_architecture(self._unet_architecture | {"upsampling": self.architecture["upsampling"][:1]})
        network.encoder, network.decoders, network.heads = self.encoder, self.decoders[:1], self.heads[:1]
        return network.train(self.training)

    def all_logits_with_distributions(self, images: Tensor) -> tuple[list[Tensor], ClassDistributionOutputs]:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of every decoder, and what the logits came from."""
        return self._decode(images, len(self.decoders))

    def logits_with_distributions(self, images: Tensor) -> tuple[Tensor, ClassDistributionOutputs]:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of the first decoder, and what they came from."""
        (logits,), outputs = self._decode(images, 1)
        return logits, outputs

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of every decoder."""
        return self.all_logits_with_distributions(images)[0]

    def logits(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of the first decoder."""
        return self.logits_with_distributions(images)[0]

    def _decode(self, images: Tensor, decoders: int) -> tuple[list[Tensor], ClassDistributionOutputs]:
        features = self.encoder(images)
        outputs = self.distributions(features[-1])
        sizes = [level.shape[-2:] for level in reversed(features[1:])]
        logits = []
        for index in range(decoders):
            added = self.injections[index](outputs.priors, sizes) if self.inject_priors else None
            decoded = self.decoders[index](features, added=added)[-1]
            logits.append(self.scores(index, decoded, images.shape[-2:]))
        return logits, outputs
