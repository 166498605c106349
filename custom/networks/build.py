"""Several networks at once, built from the arguments of one U-Net: what a configuration names.

Each is a network of another file beside this one with its U-Nets made here,
so that a configuration gives numbers and names only. The same seed always gives the same initial weights, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from custom.networks.diffrect import DiffRectNetworks, LabelRectifier
from custom.networks.distance_unet import DistanceUNet
from custom.networks.encoders import DROPOUT, WIDTHS
from custom.networks.generic_ssl import GenericSSLNetworks
from custom.networks.inherent_consistency import InherentConsistencyUNet
from custom.networks.magicnet import MagicNetworks
from custom.networks.pyramid_unet import PyramidUNet
from custom.networks.scdl_unet import SCDLUNet
from custom.networks.training_networks import MeanTeacher, NetworkPair
from custom.networks.unet import UNet

__all__ = [
    "SCDLUNetPair",
    "UNetPair",
    "UNetPairWithTeachers",
    "UNetWithDenoiser",
    "UNetWithDistances",
    "UNetWithInherentConsistency",
    "UNetWithCellLocations",
    "UNetWithPyramid",
    "UNetWithRectifier",
    "UNetWithTeacher",
]

SEEDS = 2**32  # as many as NumPy has


class UNetPair(NetworkPair):
    """Two U-Nets of different initial weights: those of `seed` and those of `seed + 1`.

    >>> from custom.networks import UNetPair
    >>> pair = UNetPair(num_classes=3, seed=0)
    >>> pair.first.num_classes, pair.second.num_classes
    (3, 3)

    Args:
        num_classes: K, with the background.
        seed: seed of the first one's initial weights; None draws both from the random numbers as they are.
        second: arguments in which the second one differs from the first one; None for none.
        arguments: further arguments of `UNet`.
    """

    arguments_of = UNet

    def __init__(
        self, num_classes: int = 2, seed: int | None = None, second: Mapping[str, Any] | None = None, **arguments: Any
    ) -> None:
        one, other = _two_seeds(seed)
        super().__init__(
            self.arguments_of(num_classes, seed=one, **arguments),
            self.arguments_of(num_classes, seed=other, **{**arguments, **(second or {})}),
        )


class SCDLUNetPair(UNetPair):
    """Two `SCDLUNet` of different initial weights: those of `seed` and those of `seed + 1`.

    >>> from custom.networks import SCDLUNetPair
    >>> pair = SCDLUNetPair(num_classes=3, seed=0, samples=10)
    >>> pair.first.distributions.samples, pair.second.distributions.samples
    (10, 10)

    Args:
        num_classes: K, with the background.
        seed: seed of the first one's initial weights; None draws both from the random numbers as they are.
        second: see `UNetPair`.
        arguments: further arguments of `SCDLUNet`.
    """

    arguments_of = SCDLUNet


class UNetPairWithTeachers(NetworkPair):
    """Two U-Nets of different initial weights, those of `seed` and of `seed + 1`, each with a teacher of its own.

    >>> from custom.networks import UNetPairWithTeachers
    >>> pair = UNetPairWithTeachers(num_classes=3, seed=0)
    >>> pair.first.teacher.num_classes, pair.inference_network() is pair.first.student
    (3, True)

    Args:
        num_classes: K, with the background.
        decay: of both teachers, see `MeanTeacher`.
        warm_up: of both teachers, see `MeanTeacher`.
        seed: seed of the first one's initial weights; None draws both from the random numbers as they are.
        arguments: further arguments of `UNet`.
    """

    arguments_of = UNet

    def __init__(
        self,
        num_classes: int = 2,
        decay: float = 0.99,
        warm_up: bool = True,
        seed: int | None = None,
        **arguments: Any,
    ) -> None:
        students = (UNet(num_classes, seed=each, **arguments) for each in _two_seeds(seed))
        super().__init__(*(MeanTeacher(student, decay, warm_up) for student in students))


class UNetWithTeacher(MeanTeacher):
    """A U-Net and its teacher, see `MeanTeacher`.

    >>> from custom.networks import UNetWithTeacher
    >>> UNetWithTeacher(num_classes=3, seed=0).teacher.num_classes
    3

    Args:
        num_classes: K, with the background.
        decay: see `MeanTeacher`.
        warm_up: see `MeanTeacher`.
        arguments: further arguments of `UNet`, such as `seed`.
    """

    arguments_of = UNet

    def __init__(self, num_classes: int = 2, decay: float = 0.99, warm_up: bool = True, **arguments: Any) -> None:
        super().__init__(UNet(num_classes, **arguments), decay, warm_up)


class UNetWithDistances(DistanceUNet):
    """A U-Net with a head for signed distances, see `DistanceUNet`.

    >>> from custom.networks import UNetWithDistances
    >>> UNetWithDistances(num_classes=3, seed=0).distance_head.out_channels
    2

    Args:
        num_classes: K, with the background.
        arguments: further arguments of `UNet`, such as `seed`.
    """

    arguments_of = UNet

    def __init__(self, num_classes: int = 2, **arguments: Any) -> None:
        super().__init__(UNet(num_classes, **arguments))


class UNetWithDenoiser(GenericSSLNetworks):
    """A U-Net with a denoiser of labels and a further decoder, see `GenericSSLNetworks`.

    >>> from custom.networks import UNetWithDenoiser
    >>> len(UNetWithDenoiser(num_classes=3, seed=0, sampling_steps=4).diffusion.sampling)
    4

    Args:
        num_classes: K, with the background.
        diffusion_steps, sampling_steps, time_channels: see `GenericSSLNetworks`.
        arguments: further arguments of `UNet`, such as `seed`.
    """

    arguments_of = UNet

    def __init__(
        self,
        num_classes: int = 2,
        diffusion_steps: int = 1000,
        sampling_steps: int = 10,
        time_channels: int = 512,
        **arguments: Any,
    ) -> None:
        super().__init__(UNet(num_classes, **arguments), diffusion_steps, sampling_steps, time_channels)


class UNetWithInherentConsistency(InherentConsistencyUNet):
    """A U-Net with two attention modules on its decoder, see `InherentConsistencyUNet`.

    >>> from custom.networks import UNetWithInherentConsistency
    >>> len(UNetWithInherentConsistency(num_classes=3, image_size=32, seed=0).supervised)
    3

    Args:
        num_classes: K, with the background.
        image_size: side of the training images in pixels.
        position_limit: see `InherentConsistencyUNet`.
        arguments: further arguments of `UNet`, such as `seed`.

    Raises:
        InputError: fewer than three resolutions, or a negative limit.
    """

    arguments_of = UNet

    def __init__(
        self, num_classes: int = 2, image_size: int = 224, position_limit: int | None = 3136, **arguments: Any
    ) -> None:
        super().__init__(UNet(num_classes, **arguments), image_size, position_limit)


class UNetWithCellLocations(MagicNetworks):
    """A U-Net, its teacher and a head for the places of cells, see `MagicNetworks`.

    >>> from custom.networks import UNetWithCellLocations
    >>> UNetWithCellLocations(num_classes=3, seed=0).location[-1].out_features
    16

    Args:
        num_classes: K, with the background.
        cells, location_width, decay, warm_up: see `MagicNetworks`.
        arguments: further arguments of `UNet`, such as `seed`.

    Raises:
        InputError: fewer than two cells along a side.
    """

    arguments_of = UNet

    def __init__(
        self,
        num_classes: int = 2,
        cells: int = 4,
        location_width: int = 512,
        decay: float = 0.99,
        warm_up: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(UNet(num_classes, **arguments), cells, location_width, decay, warm_up)


class UNetWithPyramid(PyramidUNet):
    """A U-Net with further heads on its decoder, see `PyramidUNet`.

    >>> from custom.networks import UNetWithPyramid
    >>> len(UNetWithPyramid(num_classes=3, seed=0).further_heads)
    3

    Args:
        num_classes: K, with the background.
        arguments: further arguments of `UNet`, such as `seed`.

    Raises:
        InputError: fewer than five resolutions.
    """

    arguments_of = UNet

    def __init__(self, num_classes: int = 2, **arguments: Any) -> None:
        super().__init__(UNet(num_classes, **arguments))


class UNetWithRectifier(DiffRectNetworks):
    """A U-Net and the rectifier of its pseudo-labels, for the same classes and of the same widths.

    >>> from custom.networks import UNetWithRectifier
    >>> UNetWithRectifier(num_classes=3, seed=0, diffusion_steps=4, sampling_steps=4).rectifier.diffusion.sampling
    [3, 2, 1, 0]

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution of both, the finest first.
        dropout: dropout probability of each resolution of the encoders of both.
        encoder, encoder_weights, decoder_widths: of the U-Net that segments, see `UNet`.
        seed: seed of the U-Net's initial weights, from which those of the rectifier follow; None draws them from the
            random numbers as they are.
        arguments: further arguments of `LabelRectifier`.
    """

    arguments_of = LabelRectifier

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
        **arguments: Any,
    ) -> None:
        own = {"encoder": encoder, "encoder_weights": encoder_weights, "decoder_widths": decoder_widths, "seed": seed}
        segmenter = UNet(num_classes, in_channels, widths, dropout, **own)
        super().__init__(segmenter, LabelRectifier(num_classes, in_channels, widths, dropout, **arguments))


def _two_seeds(seed: int | None) -> tuple[int | None, int | None]:
    """A seed and the next one; 0 comes after the largest."""
    return (None, None) if seed is None else (seed, (seed + 1) % SEEDS)
