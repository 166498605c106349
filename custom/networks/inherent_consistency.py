"""The U-Net of INCL, whose decoder stages two attention modules compare with queries of the classes in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.networks.blocks import MLPBlock
from monai.networks.layers import DropPath
from torch import Tensor, nn

from custom.errors import InputError
from custom.networks.blocks import group_count
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet

__all__ = ["ClassAttention", "InherentConsistencyOutputs", "InherentConsistencyUNet"]

HEADS = (8, 4, 2)
DROP_PATH = 0.02


class InherentConsistencyOutputs(NamedTuple):
    """What the losses of INCL compare. Maps are lists with logits [B, K, h, w] of each stage, the coarsest first.

    Attributes:
        logits: of the U-Net, labelled rows first, [B, K, H, W].
        labelled_maps: of the supervised module (SSPA) for the labelled rows.
        supervised_maps: of the same module for the unlabelled rows; empty if there are none.
        unsupervised_maps: of the unsupervised module (USCL) for the unlabelled rows; empty if there are none.
    """

    logits: Tensor
    labelled_maps: list[Tensor]
    supervised_maps: list[Tensor]
    unsupervised_maps: list[Tensor]


class ClassAttention(nn.Module):
    """Compares a query of each class with every position of a feature map.

    With tokens X = LN(conv1x1(features)), [N, C], queries Q, [K, C], and h heads of C / h channels:

        A = (W_q LN(Q)) (W_k LN(X))^T / sqrt(C / h), for each class and head a map of N positions
        Q = W_o softmax(A) (W_v LN(X));   Q <- Q + D(Q);   Q <- Q + D(MLP(LN(Q)))
        A <- A + D(A);   A <- A + D(MLP_N(LN(A)))
        logits = conv1x1(ReLU(BN(conv1x1(ReLU(BN(depthwise conv3x3(A)))))))

    where D is drop path. MLP_N mixes the N positions of a map, each with each, and so fixes their number. As in the
    release (`networks/unet_icl.py`) Q is added to itself, not to the query that came in, and so is A. There, heads and
    classes are reshaped without a transposition, which mixes them in memory; here they are not mixed.

    Args:
        channels: C, of the features.
        heads: h; fewer where they do not divide C.
        positions: N, with which MLP_N is built; None leaves it out.
        updates_queries: whether the second line is computed; if not, the queries stay as they are.
    """

    def __init__(self, channels: int, heads: int, positions: int | None, updates_queries: bool) -> None:
        super().__init__()
        self.heads = group_count(channels, heads)
        self.project = nn.Conv2d(channels, channels, 1)
        self.token_norms = nn.Sequential(nn.LayerNorm(channels), nn.LayerNorm(channels))
        self.query_norm = nn.LayerNorm(channels)
        self.to_query = nn.Linear(channels, channels)
        self.to_key = nn.Linear(channels, channels)
        self.updates_queries = updates_queries
        if updates_queries:
            self.to_value = nn.Linear(channels, channels)
            self.to_output = nn.Linear(channels, channels)
            self.query_mlp = nn.Sequential(nn.LayerNorm(channels), MLPBlock(channels, 4 * channels))
        self.drop_path = DropPath(DROP_PATH)
        self.position_mlp = None
        if positions is not None:
            self.position_mlp = nn.Sequential(nn.LayerNorm(positions), MLPBlock(positions, positions))
        self.to_map = nn.Sequential(
            nn.Conv2d(self.heads, self.heads, 3, padding=1, groups=self.heads, bias=False),
            nn.BatchNorm2d(self.heads),
            nn.ReLU(),
            nn.Conv2d(self.heads, self.heads, 1, bias=False),
            nn.BatchNorm2d(self.heads),
            nn.ReLU(),
            nn.Conv2d(self.heads, 1, 1),
        )

    def forward(self, features: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, C, h, w] and queries [B or 1, K, C] -> logits [B, K, h, w] and the queries, updated."""
        tokens = self.token_norms(self.project(features).flatten(2).transpose(1, 2))
        query = self._split(self.to_query(self.query_norm(queries)))
        key = self._split(self.to_key(tokens))
        scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5  # [B, heads, K, N]
        if self.updates_queries:
            attended = scores.softmax(dim=-1) @ self._split(self.to_value(tokens))
            queries = self.to_output(attended.transpose(1, 2).flatten(2))
            queries = queries + self.drop_path(queries)
            queries = queries + self.drop_path(self.query_mlp(queries))
        scores = scores + self.drop_path(scores)
        if self.position_mlp is not None:
            scores = scores + self.drop_path(self.position_mlp(scores))
        maps = scores.transpose(1, 2).unflatten(-1, features.shape[-2:])  # [B, K, heads, h, w]
        return self.to_map(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]).squeeze(2), queries

    def _split(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, heads, L, C / heads]."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class InherentConsistencyUNet(TrainingNetworks):
    """A U-Net with a supervised and an unsupervised attention module on its decoder, which only train (INCL).

    Each module has a `ClassAttention` for each of the three decoder stages below the last. The supervised one (SSPA)
    starts from K learnt queries; those that a stage has updated go through a linear layer to the next, finer one. The
    unsupervised one (USCL) has no queries of its own: at each stage it takes those that the supervised one has updated
    on the labelled images, their mean over the batch. What is computed in the release and reaches no loss, such as the
    queries that the unsupervised module would update, is absent.

    The release mixes the positions of every stage (MLP_N of `ClassAttention`): 573 million weights in each module for
    images of 256 pixels, beside 1.8 million of the U-Net. Here only maps up to `position_limit` positions are mixed, by
    default those at 1/8 and 1/4 of 224 pixels (a choice of this project).

    >>> import torch
    >>> from custom.networks import InherentConsistencyUNet, UNet
    >>> network = InherentConsistencyUNet(UNet(num_classes=3, seed=0), image_size=32)
    >>> outputs = network.logits_and_maps(torch.rand(4, 3, 32, 32), labelled=2)
    >>> [tuple(each.shape) for each in outputs.unsupervised_maps]
    [(2, 3, 4, 4), (2, 3, 8, 8), (2, 3, 16, 16)]

    Args:
        unet: the network that predicts, of at least three resolutions; with fewer than five, fewer stages are used.
        image_size: side of the training images in pixels.
        position_limit: most positions of a map that MLP_N mixes; null for no limit, as released.

    Raises:
        InputError: the U-Net has fewer resolutions, or the limit is negative.
    """

    def __init__(self, unet: UNet, image_size: int = 224, position_limit: int | None = 3136) -> None:
        super().__init__(unet)
        if position_limit is not None and position_limit < 0:
            raise InputError(f"position_limit {position_limit}: give a number from 0, or null for no limit")
        widths = tuple(reversed(unet.decoder_widths[1:-1]))[-3:]
        if not widths:
            raise InputError(
                f"widths {list(unet.decoder_widths)}: InherentConsistencyUNet needs at least three resolutions"
            )
        self.image_size = image_size
        self.skipped_stages = len(unet.decoder_widths) - 2 - len(widths)
        positions = [
            height * width if position_limit is None or height * width <= position_limit else None
            for height, width in self._sizes(image_size)
        ]
        settings = list(zip(widths, HEADS[-len(widths) :], positions, strict=True))
        self.queries = nn.Parameter(torch.zeros(1, unet.num_classes, widths[0]))
        self.to_next_queries = nn.ModuleList(nn.Linear(*pair) for pair in zip(widths[:-1], widths[1:], strict=True))
        self.supervised = nn.ModuleList(ClassAttention(*each, updates_queries=True) for each in settings)
        self.unsupervised = nn.ModuleList(ClassAttention(*each, updates_queries=False) for each in settings)

    def logits_and_maps(self, images: Tensor, labelled: int) -> InherentConsistencyOutputs:
        """Images [B, C, H, W] in [0, 1], of which the first ones are labelled -> what the losses compare.

        Labelled and unlabelled rows go through everything by themselves, as in the release.

        Raises:
            InputError: the images have not the size for which the positions' layers were built.
        """
        self._check_size(images)
        logits, features = self._decode(images[:labelled])
        labelled_maps, queries = self._compare_with_labels(features)
        if len(images) == labelled:
            return InherentConsistencyOutputs(logits, labelled_maps, [], [])
        unlabelled_logits, features = self._decode(images[labelled:])
        supervised_maps, _ = self._compare_with_labels(features)
        stages = zip(self.unsupervised, features, queries, strict=True)
        unsupervised_maps = [attend(each, query.mean(dim=0, keepdim=True))[0] for attend, each, query in stages]
        logits = torch.cat([logits, unlabelled_logits])
        return InherentConsistencyOutputs(logits, labelled_maps, supervised_maps, unsupervised_maps)

    def _decode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the U-Net, and the features of the stages that the modules see."""
        unet = self.deployed
        outputs = unet.decoders[0](unet.encoder(images))
        return unet.scores(0, outputs[-1], images.shape[-2:]), outputs[self.skipped_stages : -1]

    def _compare_with_labels(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps and updated queries of each stage of the supervised module."""
        maps, updated, queries = [], [], self.queries
        for index, (attend, each) in enumerate(zip(self.supervised, features, strict=True)):
            if index:
                queries = self.to_next_queries[index - 1](queries)
            logits, queries = attend(each, queries)
            maps.append(logits)
            updated.append(queries)
        return maps, updated

    def _sizes(self, image_size: int) -> list[tuple[int, int]]:
        """Sizes of the maps that the modules see, which are those of the encoder's features."""
        encoder = self.deployed.encoder
        weight = next(encoder.parameters())
        channels = self.deployed.architecture["in_channels"]
        training = encoder.training
        with torch.no_grad():  # in evaluation mode no random number is drawn and no statistic moves
            features = encoder.eval()(torch.zeros(1, channels, image_size, image_size, device=weight.device))
        encoder.train(training)
        sizes = [tuple(level.shape[-2:]) for level in reversed(features[:-1])]
        return sizes[self.skipped_stages : -1]

    def _check_size(self, images: Tensor) -> None:
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size and any(attend.position_mlp is not None for attend in self.supervised):
            height, width = images.shape[-2:]
            raise InputError(
                f"images of {height} x {width} pixels, but network_def#image_size is {self.image_size}: "
                "give the size of the training images"
            )
