"""The classes as learnt distributions of an embedding space, compared with each token of an image (SCDL)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

__all__ = ["ClassDistributionOutputs", "ClassDistributions"]


@dataclass(frozen=True)
class ClassDistributionOutputs:
    """Output of `ClassDistributions` for the L = h * w tokens of each image; all tensors are float32.

    Attributes:
        tokens: the features themselves, [B, L, D_in].
        grid: (h, w), the tokens' arrangement, row by row.
        similarities: mean_s cos(z_l, u_cs) in [-1, 1], of tokens and samples of the classes, [B, L, K].
        assignments: P(c | z_l), [B, L, K]; they sum to 1 over the classes.
        centres: mu, [K, D].
        priors: r_dist, r_centre and r_token side by side, [B, 3 D, h, w].
    """

    tokens: Tensor
    grid: tuple[int, int]
    similarities: Tensor
    assignments: Tensor
    centres: Tensor
    priors: Tensor


class ClassDistributions(nn.Module):
    """A normal distribution for each class, its proxy, in the space into which an MLP embeds the tokens.

    A token x is embedded as z; class c has the centre mu_c and the deviation sigma_c > 0 along each axis. From samples
    u_cs = mu_c + sigma_c eps, s = 1..S, and with ^ for "divided by its length", come

        P(c | z) = softmax_c(cos(z, mu_c) / temperature)
        r_dist   = sum_c P(c | z) mean_s u^_cs
        r_centre = (sum_c P(c | z) mu^_c)^
        r_token  = mean_e (z + eps sigma_token)^, e = 1..E

    Every call in training mode draws new samples. In evaluation mode eps = 0 everywhere, so the result is the same each
    time; the release samples there too. No label comes in: the priors depend on the image alone.

    Sources: the three priors are the paper's. The released module has r_centre and r_token alone, and also the
    temperature, which the paper's formula does not show. With D_in = 16 and K = 14 the module has 410,112 parameters.

    Args:
        in_channels: D_in, channels of the features.
        num_classes: K, with the background.
        embedding_channels: D; the MLP's two hidden layers have twice as many.
        temperature: of the softmax over the classes.
        samples: S, samples of each class.
        token_samples: E, samples around each token.
        token_deviation: initial value of sigma_token, which is learnt.
        dropout: dropout probability in the MLP.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        embedding_channels: int = 256,
        temperature: float = 0.2,
        samples: int = 50,
        token_samples: int = 2,
        token_deviation: float = 0.05,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        hidden = 2 * embedding_channels
        self.temperature = temperature
        self.samples = samples
        self.token_samples = token_samples
        self.embed = nn.Sequential(
            nn.Linear(in_channels, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, embedding_channels),
        )
        self.proxies = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_classes, 2 * embedding_channels)))
        self.token_deviation = nn.Parameter(torch.full((embedding_channels,), token_deviation))

    @property
    def centres(self) -> Tensor:
        """mu, [K, D]."""
        return self.proxies.chunk(2, dim=1)[0]

    @property
    def deviations(self) -> Tensor:
        """sigma, [K, D], positive."""
        return softplus(self.proxies.chunk(2, dim=1)[1])

    def forward(self, features: Tensor) -> ClassDistributionOutputs:
        """Features [B, D_in, h, w], of which every position is a token -> their comparison with the classes."""
        with torch.autocast(features.device.type, enabled=False):  # cosines over 0.2, and the losses, need float32
            return self._compare(features.float())

    def _compare(self, features: Tensor) -> ClassDistributionOutputs:
        grid = tuple(features.shape[-2:])
        tokens = features.flatten(2).transpose(1, 2)
        embeddings = self.embed(tokens)
        directions = normalize(embeddings, dim=-1)
        centre_directions = normalize(self.centres, dim=-1)
        mean_samples = normalize(self._sample_classes(), dim=-1).mean(dim=1)
        assignments = (directions @ centre_directions.T / self.temperature).softmax(dim=-1)
        r_dist = assignments @ mean_samples
        r_centre = normalize(assignments @ centre_directions, dim=-1)
        r_token = normalize(self._sample_around(embeddings), dim=-1).mean(dim=0)
        priors = torch.cat([r_dist, r_centre, r_token], dim=-1).transpose(1, 2).unflatten(2, grid)
        # The mean of the cosines is the cosine's product with the mean sample: no tensor of tokens times samples.
        return ClassDistributionOutputs(tokens, grid, directions @ mean_samples.T, assignments, self.centres, priors)

    def _sample_classes(self) -> Tensor:
        """Samples of each class, [K, S, D]; in evaluation mode the centres alone, [K, 1, D]."""
        centres = self.centres[:, None]
        if not self.training:
            return centres
        classes, channels = self.centres.shape
        noise = torch.randn(classes, self.samples, channels, device=centres.device)
        return centres + self.deviations[:, None] * noise

    def _sample_around(self, embeddings: Tensor) -> Tensor:
        """Samples around each token, [E, B, L, D]; in evaluation mode the tokens alone, [1, B, L, D]."""
        if not self.training:
            return embeddings[None]
        noise = torch.randn(self.token_samples, *embeddings.shape, device=embeddings.device)
        return embeddings + self.token_deviation * noise
