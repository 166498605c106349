"""ACR: labels as images for the autoencoder, and images back to labels (paper Eq. 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from custom.errors import InputError
from custom.labels.ignored import clear_ignored

__all__ = ["LabelCodec", "most_likely"]


class LabelCodec(nn.Module):
    """Class indices 0..K-1 as equally spaced grey levels, and the way back as one soft ordinal value per pixel.

    Forward: G' = 2 G / (K - 1) - 1, repeated to three channels. The paper's Eq. 11 divides by K, which leaves the top
    of the range unused; the released training code omits the map to [-1, 1]. Reverse (release): mean over RGB,
    p = clamp((y + 1) / 2, 0, 1) * (K - 1). With K > 2 one ordinal value is kept and memberships are triangular; an
    edge between classes 0 and 2 therefore passes through class 1.

    >>> import torch
    >>> from custom.labels import LabelCodec
    >>> codec = LabelCodec(num_classes=3)
    >>> labels = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 3)
    >>> codec.encode(labels)[0, 0].tolist()
    [[-1.0, 0.0, 1.0]]
    >>> torch.equal(codec.decode(codec.encode(labels)), labels)
    True

    Args:
        num_classes: K, with the background.
        divisor: "K-1" (default) or "K" (paper).
        value_range: "signed" for [-1, 1] (default) or "unsigned" for [0, 1] (what the release trains stage 1 with).

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, num_classes: int = 2, divisor: str = "K-1", value_range: str = "signed") -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes is {num_classes}: it counts the background, so it must be at least 2")
        if divisor not in ("K-1", "K"):
            raise InputError(f"label_codec divisor {divisor!r}: choose 'K-1' or 'K'")
        if value_range not in ("signed", "unsigned"):
            raise InputError(f"label_codec value_range {value_range!r}: choose 'signed' or 'unsigned'")
        self.num_classes = num_classes
        self.top = num_classes if divisor == "K" else num_classes - 1
        self.signed = value_range == "signed"

    def encode(self, labels: Tensor) -> Tensor:
        """Class indices [B, 1, H, W] -> images [B, 3, H, W] in [-1, 1] (or [0, 1] if unsigned).

        Ignored pixels look like background: what compares with such an image must leave them out.
        """
        labels = clear_ignored(labels, labels)
        grey = labels.to(torch.get_default_dtype() if not labels.is_floating_point() else labels.dtype) / self.top
        if self.signed:
            grey = 2 * grey - 1
        return grey.expand(-1, 3, -1, -1)

    def decode(self, images: Tensor) -> Tensor:
        """Decoder output [B, 3, H, W], unbounded -> soft ordinal labels [B, 1, H, W] in [0, K - 1].

        A hard clamp: outside [-1, 1] the gradient is zero, as in the released code. [-1, 1] is assumed for both value
        ranges, since the release does so.
        """
        grey = images.mean(dim=1, keepdim=True)
        return (((grey + 1) / 2).clamp(0, 1) * self.top).clamp(max=self.num_classes - 1)

    def memberships(self, soft_labels: Tensor) -> Tensor:
        """Soft ordinal labels [B, 1, H, W] -> memberships [B, K, H, W] that sum to one; (1 - p, p) for K = 2.

        What has K channels are memberships already, such as those of `PaletteCodec`, and comes back as it is.
        """
        if soft_labels.shape[1] == self.num_classes:
            return soft_labels
        if self.num_classes == 2:
            return torch.cat([1 - soft_labels, soft_labels], dim=1)
        classes = torch.arange(self.num_classes, device=soft_labels.device, dtype=soft_labels.dtype)
        return functional.relu(1 - (soft_labels - classes.view(1, -1, 1, 1)).abs())

    @staticmethod
    def harden(soft_labels: Tensor) -> Tensor:
        """Soft ordinal labels -> the nearest class index, same shape and dtype; exactly between two, the lower one."""
        return torch.ceil(soft_labels - 0.5).clamp(min=0)


def most_likely(prediction: Tensor) -> Tensor:
    """Memberships [B, K, H, W] -> the class of the largest, [B, 1, H, W], float; soft ordinal labels stay as they are.

    >>> import torch
    >>> from custom.labels import most_likely
    >>> most_likely(torch.tensor([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1)).item()
    2.0
    >>> most_likely(torch.full((1, 1, 1, 1), 1.75)).item()
    1.75
    """
    return prediction if prediction.shape[1] == 1 else prediction.argmax(dim=1, keepdim=True).float()
