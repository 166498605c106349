"""Near-duplicate images: which pairs there are, and whether they lie on two sides of the split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from custom.prepare.duplicates.near_duplicate import NearDuplicate
from custom.prepare.duplicates.picture import draw_contact_sheet
from custom.prepare.duplicates.search import duplicate_groups, find_near_duplicates
from custom.prepare.writing import Written

__all__ = ["Audit", "audit_images"]

_PAIRS_DRAWN = 48


@dataclass
class Audit:
    """Pairs of near-duplicates among the prepared images.

    Attributes:
        pairs: the pairs, each as places in the list of images.
        groups: number of the group of near-duplicates of each image.
    """

    pairs: list[NearDuplicate] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def across(self, splits: Sequence[str]) -> list[NearDuplicate]:
        """The pairs whose images lie in two splits."""
        return [pair for pair in self.pairs if splits[pair.first] != splits[pair.second]]

    def draw(self, folder: Path, written: Sequence[Written], splits: Sequence[str], output: Path) -> None:
        """Draw the pairs, those across splits first."""
        across = self.across(splits)
        chosen = [*across, *(pair for pair in self.pairs if pair not in across)][:_PAIRS_DRAWN]
        paths = [folder / item.image for item in written]
        labels = [f"{split}: {item.record.name}" for split, item in zip(splits, written, strict=True)]
        draw_contact_sheet(chosen, paths, labels, output)


def audit_images(folder: Path, written: Sequence[Written], show_progress: bool) -> Audit:
    """Find the near-duplicates.

    Slices of a patient and patches of a slide look alike by nature and are kept together anyway: pairs within such a
    group are no finding.
    """
    found = find_near_duplicates([folder / item.image for item in written], show_progress)
    groups = [item.record.group for item in written]
    pairs = [pair for pair in found if groups[pair.first] is None or groups[pair.first] != groups[pair.second]]
    return Audit(pairs, duplicate_groups(len(written), pairs))
