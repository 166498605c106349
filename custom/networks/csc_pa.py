"""The networks of CSC-PA: a U-Net, and what changes its features in training (Ding et al., CVPR 2025)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize, relu, scaled_dot_product_attention

from custom.errors import InputError
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet

__all__ = ["CSCPANetworks", "ChangedFeatures", "CrossAttention", "correlation_maps"]


class ChangedFeatures(NamedTuple):
    """What a pass of training gives.

    Attributes:
        logits: [B, K, H, W].
        features: the changed features of the decoder, [B, C, h, w].
    """

    logits: Tensor
    features: Tensor


class CrossAttention(nn.Module):
    """Attention of the positions of one map to those of another (FPA).

    With A' = ReLU(BN(A)) and B' = ReLU(BN(B)), the same BN: A' + W(softmax(theta(A') phi(B')^T) g(V)), without a scale.

    Args:
        channels: C of both maps.
        values: "own": V = A', as released, so that the other map acts through the weights alone; "other": V = B'.
    """

    def __init__(self, channels: int, values: str = "own") -> None:
        super().__init__()
        self.values = values
        inner = max(1, channels // 2)
        self.norm = nn.BatchNorm1d(channels)
        self.theta, self.phi, self.g = (nn.Linear(channels, inner) for _ in range(3))
        self.out = nn.Linear(inner, channels)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Maps [B, C, N] -> [B, C, N]."""
        own, other = (relu(self.norm(each)).transpose(1, 2) for each in (own, other))
        value = self.g(own if self.values == "own" else other)
        attended = scaled_dot_product_attention(self.theta(own), self.phi(other), value, scale=1.0)
        return (own + self.out(attended)).transpose(1, 2)


def correlation_maps(features: Tensor) -> Tensor:
    """Features [B, C, N] -> [B, C, N], cos(P_j, f(n)) in [-1, 1] of each prototype and position.

    Prototype P_j is the mean of the features, weighted by the softmax over positions of channel j (without gradient).
    """
    prototypes = features.detach().softmax(dim=2) @ features.transpose(1, 2)
    return normalize(prototypes, dim=2) @ normalize(features, dim=1)


class CSCPANetworks(TrainingNetworks):
    """A U-Net whose decoder, in training, goes on with changed features f of two stages before its last.

    - Foreground (FPA): f + X(m, m'), where m are the `correlation_maps` of the row and m' those of a row of the other
      kind, labelled or unlabelled: row i has row i, and from the beginning again where there are fewer.
    - Edges (EPA): f + a e, without gradient, where e is the mean of a memory of features of edges, and a the softmax
      over positions of cos(f, e); nothing while the memory is empty.

    The U-Net itself predicts: in the release too an image alone in its batch is evaluated without both. With the
    U-Net's own encoder f has 64 channels at 1/4 of the size (inferred; in the release 512 of DeepLabV3+ at 1/4), with
    encoders whose finest features have 1/2 it has 1/8.

    >>> import torch
    >>> from custom.networks import CSCPANetworks
    >>> networks = CSCPANetworks(num_classes=3, seed=0)
    >>> changed = networks.changed(torch.rand(4, 3, 64, 64), labelled=2)
    >>> changed.logits.shape, changed.features.shape
    (torch.Size([4, 3, 64, 64]), torch.Size([4, 64, 16, 16]))

    Args:
        num_classes: K, with the background.
        memory_size: vectors in the memory.
        memory_update: "ema": 0.99 of the old memory and 0.01 of the new vectors (inferred); "released": a fixed random
            linear mixture of both, as the release's linear layer never gets a gradient.
        edge_softmax: "positions": over all; "height": over each column, as in the release by a slip.
        attention_values: see `CrossAttention`.
        arguments: further arguments of `UNet`.

    Raises:
        InputError: an unknown choice, or a decoder of one stage.
    """

    arguments_of = UNet

    def __init__(
        self,
        num_classes: int = 2,
        memory_size: int = 256,
        memory_update: str = "ema",
        edge_softmax: str = "positions",
        attention_values: str = "own",
        **arguments: Any,
    ) -> None:
        for name, value, known in (
            ("memory_update", memory_update, ("ema", "released")),
            ("edge_softmax", edge_softmax, ("positions", "height")),
            ("attention_values", attention_values, ("own", "other")),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r}: choose {known[0]!r} or {known[1]!r}")
        super().__init__(UNet(num_classes, **arguments))
        widths = self.deployed.decoder_widths
        if len(widths) < 3:
            raise InputError(f"widths {list(widths)}: CSC-PA needs a decoder of at least two stages")
        self.stages_behind = min(2, len(widths) - 2)
        channels = widths[self.stages_behind]
        self.memory_size, self.memory_update, self.edge_softmax = memory_size, memory_update, edge_softmax
        self.attention = nn.ModuleList(CrossAttention(channels, attention_values) for _ in ("labelled", "unlabelled"))
        self.register_buffer("memory", torch.zeros(memory_size, channels))
        self.register_buffer("is_filled", torch.tensor(False))
        if memory_update == "released":
            mixture = nn.Linear(2 * memory_size, memory_size)
            self.register_buffer("mixture_weight", mixture.weight.detach())
            self.register_buffer("mixture_bias", mixture.bias.detach())

    def changed(self, images: Tensor, labelled: int) -> ChangedFeatures:
        """Images in [0, 1], [B, C, H, W], the first `labelled` of them labelled and at least one not -> the pass."""
        unet, decoder = self.deployed, self.deployed.decoders[0]
        *skips, x = unet.encoder(images)
        features = x
        for index, (stage, skip) in enumerate(zip(decoder.stages, reversed(skips), strict=True), start=1):
            x = stage(x, skip, None)
            if index == len(decoder.stages) - self.stages_behind:
                x = features = self._change(x, labelled)
        return ChangedFeatures(unet.scores(0, x, images.shape[-2:]), features)

    def _change(self, features: Tensor, labelled: int) -> Tensor:
        maps = correlation_maps(features.float().flatten(2))
        rows = torch.arange(len(maps), device=maps.device)
        ours, theirs = rows[:labelled], rows[labelled:]
        foreground = [
            attention(maps[own], maps[other[torch.arange(len(own), device=own.device) % len(other)]])
            for attention, own, other in zip(self.attention, (ours, theirs), (theirs, ours), strict=True)
        ]
        return (
            features + self._edges(features) + torch.cat(foreground).to(features.dtype).unflatten(2, features.shape[2:])
        )

    @torch.no_grad()
    def _edges(self, features: Tensor) -> Tensor:
        """a e, [B, C, h, w]."""
        edge = self.memory.mean(dim=0).reshape(1, -1, 1, 1)
        cosines = cosine_similarity(features.float(), edge)  # [B, h, w]
        if self.edge_softmax == "height":
            attention = cosines.softmax(dim=1)
        else:
            attention = cosines.flatten(1).softmax(dim=1).view_as(cosines)
        return (self.is_filled * edge * attention[:, None]).to(features.dtype)

    @torch.no_grad()
    def remember(self, vectors: Tensor) -> None:
        """Bring features of edges, [N, C], into the memory; nothing happens if they are fewer than it has."""
        if len(vectors) < self.memory_size:
            return
        new = vectors[: self.memory_size].float()
        if not self.is_filled:
            mixed = new
        elif self.memory_update == "ema":
            mixed = 0.99 * self.memory + 0.01 * new
        else:
            mixed = self.mixture_weight @ torch.cat([self.memory, new]) + self.mixture_bias[:, None]
        self.memory.copy_(mixed)
        self.is_filled.fill_(True)
