"""What the user can choose when a data set is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from custom.errors import InputError
from custom.volumes.window import AUTO, Window, check_window

__all__ = ["PrepareOptions"]

SMALLEST_SIDE = 16


@dataclass(frozen=True)
class PrepareOptions:
    """Choices which change the result. The same choices with the same source give the same files.

    Attributes:
        validation_share: share of the images without a published split that is held out for validation, in [0, 1);
            None for the data set's default.
        test_share: likewise for the test; used only where no published test images are there.
        seed: of splits and labelled subsets.
        max_side: images with a longer side are scaled down to it, in pixels; None keeps all as they are.
        group_duplicates: keep near-duplicate images on one side of seeded splits.
        labelled_counts: further labelled subsets, such as "20" or "15%".
        mask_colours: class index by colour or grey value, such as "0,0,0=0 255,0,0=1"; "" finds classes by itself.
        one_connected_component: whether each class is one connected piece per image; None measures it on the masks.
        ignore_value: value of undecided pixels in masks, 1 to 65535; None if there is no such value.
        published_split: use published lists of test images where they apply.
        audit: look for near-duplicate images.
        fixed_scale: pixels of all images have one physical size, as in microscopy, see `DataFacts`.
        microns_per_pixel: that size in micrometres, which is then fixed; None where it is not known.
        window: which values of volumes become black and white: "auto" or (low, high), see `custom.volumes.windowed`.

    Raises:
        InputError: a value out of range.
    """

    validation_share: float | None = None
    test_share: float | None = None
    seed: int = 0
    max_side: int | None = None
    group_duplicates: bool = False
    labelled_counts: tuple[str, ...] = ()
    mask_colours: str = ""
    one_connected_component: bool | None = None
    ignore_value: int | None = None
    published_split: bool = True
    audit: bool = True
    fixed_scale: bool = False
    microns_per_pixel: float | None = None
    window: Window = AUTO

    def __post_init__(self) -> None:
        shares = {"--validation-share": self.validation_share, "--test-share": self.test_share}
        for name, share in shares.items():
            if share is not None and not 0 <= share < 1:
                raise InputError(f"{name} is {share}; give a share from 0 to less than 1, such as 0.1")
        if sum(share or 0 for share in shares.values()) >= 1:
            raise InputError("--validation-share and --test-share leave nothing for training; give less than 1 in all")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; give 0 or more")
        if self.max_side is not None and self.max_side < SMALLEST_SIDE:
            raise InputError(f"--max-side is {self.max_side}; give at least {SMALLEST_SIDE} pixels")
        if self.ignore_value is not None and not 1 <= self.ignore_value <= 65535:
            raise InputError(f"--ignore-value is {self.ignore_value}; give a value of undecided pixels, 1 to 65535")
        if self.microns_per_pixel is not None and self.max_side is not None:
            raise InputError("--max-side changes the size of pixels; leave out --microns-per-pixel or --max-side")
        check_window(self.window, "--window")
        if self.group_duplicates and not self.audit:
            raise InputError("--group-duplicates needs the search for near-duplicates; leave out --no-audit")
