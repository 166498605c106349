"""The losses of SCDL, which bring tokens and class distributions together, and the distributions to the labels.

They work on the tokens of a batch, [B, L, .], and the distributions of K classes, see
`custom.networks.class_distributions`. A weight w_lc is how much of token l belongs to class c.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks import one_hot
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize

from custom.errors import InputError
from custom.labels.ignored import clear_ignored, decided

__all__ = [
    "anchor_loss",
    "embedding_to_proxy_loss",
    "labelled_token_weights",
    "proxy_to_embedding_loss",
    "semantic_anchors",
    "unlabelled_token_weights",
]


def labelled_token_weights(labels: Tensor, num_classes: int, grid: tuple[int, int]) -> Tensor:
    """The share of each class in the decided pixels of each token, [B, h * w, K]; they sum to 1 over the classes.

    Of a token without any decided pixel all shares are 0.

    Args:
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W].
        num_classes: K.
        grid: (h, w), arrangement of the tokens.
    """
    classes = clear_ignored(one_hot(clear_ignored(labels, labels), num_classes), labels)
    shares = interpolate(classes, size=grid, mode="area")
    known = interpolate(decided(labels).to(shares), size=grid, mode="area")
    return (shares / known.clamp_min(1e-8)).flatten(2).transpose(1, 2)


def unlabelled_token_weights(assignments: Tensor) -> Tensor:
    """P(c | z)^2 / sum_c P(c | z)^2 of assignments [B, L, K], of the same shape and without gradient.

    The release multiplies the assignment of tokens to classes with that of classes to tokens. Both are the same softmax
    there, hence the square; and hence its symmetric divergence between the two is zero and left out here.
    """
    squares = assignments.detach() ** 2
    return squares / squares.sum(dim=-1, keepdim=True)


def proxy_to_embedding_loss(similarities: Tensor, weights: Tensor, form: str = "class") -> Tensor:
    """P2E: each class' distribution moves to the tokens that belong to it and away from the others.

    With the similarities a_lc = mean_s cos(z_l, u_cs):

        "class" (paper): mean_c exp(-(E+_c - E-_c)), E+_c = sum_l w a / sum_l w, E-_c = sum_l (1 - w) a / sum_l (1 - w).
            However few tokens a class has, it counts as much as any other.
        "token" (release): mean_c mean_l exp(-(w a - (1 - w) a)). What counts is the number of tokens.

    Sums and means go over all tokens of the batch. An energy over no token is 0: a class that is absent from the batch
    only moves away from the tokens there are, as it does in the release.

    Args:
        similarities: a, [B, L, K].
        weights: w in [0, 1], [B, L, K].
        form: "class" or "token".

    Raises:
        InputError: unknown form.
    """
    if form == "token":
        return torch.exp(-(2 * weights - 1) * similarities).mean()
    if form != "class":
        raise InputError(f"proxy_to_embedding_form {form!r}: choose 'class' or 'token'")
    attraction = _weighted_mean(similarities, weights)
    repulsion = _weighted_mean(similarities, 1 - weights)
    return torch.exp(repulsion - attraction).mean()


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over all tokens for each class: [B, L, K] twice -> [K], 0 where all weights are 0."""
    return (weights * values).sum(dim=(0, 1)) / weights.sum(dim=(0, 1)).clamp_min(1e-8)


def embedding_to_proxy_loss(similarities: Tensor, weights: Tensor) -> Tensor:
    """E2P: each token moves to the distributions of the classes it belongs to; mean_l sum_c w_lc (1 - a_lc).

    This is the release's form. The paper has P(c | z) for the weights and cos(z, mu_c), the similarity to the centre,
    for a.

    Args:
        similarities: a_lc = mean_s cos(z_l, u_cs), [B, L, K].
        weights: w in [0, 1], [B, L, K].
    """
    return (weights * (1 - similarities)).sum(dim=-1).mean()


@torch.no_grad()
def semantic_anchors(tokens: Tensor, weights: Tensor, embed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Places of the classes in the embedding space according to the labels; without gradient.

    For every labelled image and class in it the mean of the tokens in the class' region is embedded and divided by its
    length; a class' anchor is the mean of these over the images it is in, divided by its length.

    So does the release. The paper takes the mean of the encoder's embeddings themselves.

    Args:
        tokens: tokens of labelled images, [B, L, D_in].
        weights: their `labelled_token_weights`, [B, L, K].
        embed: the MLP, [..., D_in] -> [..., D].

    Returns:
        The anchors [K, D], zero for absent classes, and which classes are present, [K], bool.
    """
    areas = weights.sum(dim=1)
    present = areas > 0
    regions = weights.transpose(1, 2) @ tokens / areas.clamp_min(1e-8)[..., None]
    directions = normalize(embed(regions), dim=-1) * present[..., None]
    # The sum has the direction of the mean.
    return normalize(directions.sum(dim=0), dim=-1), present.any(dim=0)


def anchor_loss(anchors: Tensor, present: Tensor, centres: Tensor) -> Tensor:
    """SAC: mean over the classes present of 1 - cos(anchor_c, mu_c); 0 if there are none.

    Args:
        anchors: without gradient, [K, D], see `semantic_anchors`.
        present: which classes count, [K], bool.
        centres: mu, [K, D]; the gradient goes to them alone.
    """
    distances = 1 - cosine_similarity(anchors, centres, dim=-1)
    return (distances * present).sum() / present.sum().clamp(min=1)
