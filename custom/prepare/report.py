"""`report.md`: what was found, what was done with it, and what to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom.checks.class_shares import odd_masks
from custom.data import DataFacts
from custom.prepare.audit import Audit
from custom.prepare.classes import ClassMap
from custom.prepare.inspection import PROBLEMS, Inspection
from custom.prepare.records import Found, Source
from custom.prepare.writing import Written
from custom.tables import markdown_cell, markdown_table
from custom.wording import and_more

__all__ = ["Report"]

SPLITS = ("training", "validation", "test")
_NAMES_SHOWN = 20


@dataclass
class Report:
    """The content of the report; `markdown` writes it.

    Attributes:
        source: the data set.
        given: the sources as the user named them.
        found: what was found.
        inspection: what was wrong with it.
        class_map: meaning of the masks.
        facts: the facts about the data set, as the datalist states them.
        written: the prepared images.
        splits: split of each.
        subsets: labelled subsets.
        seed: of splits and subsets.
        audit: near-duplicates, if they were looked for.
        pictures: heading and path of each picture.
        warnings: what the user should read at once.
    """

    source: Source
    given: Sequence[Path]
    found: Found
    inspection: Inspection
    class_map: ClassMap
    facts: DataFacts
    written: Sequence[Written]
    splits: Sequence[str]
    subsets: dict[str, list[str]]
    seed: int
    audit: Audit | None = None
    pictures: dict[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def markdown(self) -> str:
        """The report as text."""
        given = ", ".join(f"`{path.name}`" for path in self.given)
        title = f"# {self.source.title}\n\nPrepared as `{self.source.name}` from {given}, seed {self.seed}."
        sections = [title, *self._sections()]
        return "\n\n".join(section for section in sections if section) + "\n"

    def classes(self) -> list[str]:
        """The classes found and the mean share of each, one line per class."""
        values, pixels = self._values(), self._pixels()
        shares = np.mean([mask / max(1, mask.sum()) for mask in pixels], axis=0)
        lines = [
            f"class {index} ({self.facts.class_names[index]}): {shares[index]:.2%} of the pixels, in "
            f"{sum(int(mask[index] > 0) for mask in pixels)} of {len(pixels)} masks; in the source {values[index]}"
            for index in range(self.class_map.num_classes)
        ]
        ignored = self.class_map.ignore_value
        return lines if ignored is None else [*lines, f"undecided, ignored in training: value {ignored} in the source"]

    def class_warnings(self) -> list[str]:
        """Which masks the user should look at."""
        pixels, lines = self._pixels(), []
        for kind, places in odd_masks(pixels).items():
            if len(places) == len(pixels) or (places and kind != "without foreground"):
                lines.append(f"{len(places)} of {len(pixels)} masks {kind}: check them.")
        pages = sum(facts.pages > 1 for facts in self.inspection.masks)
        if pages:
            lines.append(f"{pages} masks are TIFFs of several pages, which were joined: each page holds some objects.")
        return lines

    def _values(self) -> list[str]:
        """The values of each class in the source's masks."""
        return [
            ", ".join(value for value, index in self.class_map.classes.items() if index == number)
            for number in range(self.class_map.num_classes)
        ]

    def _pixels(self) -> list[NDArray[np.int64]]:
        return [item.class_pixels for item in self.written if item.class_pixels is not None]

    def _sections(self) -> Iterator[str]:
        if self.warnings:
            yield "## Warnings\n\n" + _list(self.warnings)
        yield "## Images\n\n" + self._split_table()
        yield _list(self.found.notes)
        yield "## Sizes\n\n" + self._sizes()
        yield "## Classes\n\n" + self._class_table()
        yield "## Labelled subsets\n\n" + self._subset_table()
        yield "## Unusual files\n\n" + self._oddities()
        yield "## Near-duplicate images\n\n" + self._near_duplicates()
        for heading, path in self.pictures.items():
            yield f"## {heading}\n\n![{heading}]({path})"

    def _of(self, split: str) -> list[Written]:
        return [item for item, its_split in zip(self.written, self.splits, strict=True) if its_split == split]

    def _split_table(self) -> str:
        sets = sorted({item.record.set_name for item in self.written if item.record.set_name})
        rows = []
        for split in SPLITS:
            items = self._of(split)
            empty = sum(item.class_pixels is not None and item.class_pixels[1:].sum() == 0 for item in items)
            groups = {item.record.group for item in items} - {None}
            per_set = [sum(item.record.set_name == name for item in items) for name in sets] if len(sets) > 1 else []
            with_mask = sum(item.label is not None for item in items)
            rows.append([split, len(items), with_mask, len(items) - with_mask, empty, len(groups) or "-", *per_set])
        heads = ["split", "images", "with mask", "without mask", "empty masks", "groups"]
        return markdown_table([*heads, *(sets if len(sets) > 1 else [])], rows)

    def _sizes(self) -> str:
        sizes = Counter(item.size for item in self.written)
        widths, heights = zip(*sizes, strict=True)
        converted = sum(item.converted for item in self.written)
        commonest = ", ".join(f"{width} x {height} ({count})" for (width, height), count in sizes.most_common(5))
        return (
            f"{min(widths)} to {max(widths)} pixels wide, {min(heights)} to {max(heights)} high; {len(sizes)} sizes, "
            f"the commonest: {commonest}.\n\n{len(self.written) - converted} images are the files they were; "
            f"{converted} were converted (scaled down, 16 bits, or a format training does not open)."
        )

    def _class_table(self) -> str:
        values, pixels = self._values(), self._pixels()
        shares = np.mean([mask / max(1, mask.sum()) for mask in pixels], axis=0)
        rows = [
            [
                index,
                self.facts.class_names[index],
                values[index],
                f"{shares[index]:.2%}",
                sum(int(mask[index] > 0) for mask in pixels),
            ]
            for index in range(self.class_map.num_classes)
        ]
        heads = ["index", "class", "value in the source's masks", "mean share of pixels", "masks with it"]
        pieces = "is one connected piece" if self.facts.one_connected_component else "may be several pieces"
        return f"{markdown_table(heads, rows)}\n\nEach class {pieces} per image."

    def _subset_table(self) -> str:
        rows = [[f"`{name}`", len(images)] for name, images in self.subsets.items()]
        return markdown_table(["subset (`--labelled`)", "images"], rows) + "\n\nEach lies within the next larger one."

    def _oddities(self) -> str:
        odd = [(item.record.name, item.odd_pixels) for item in self.written if item.odd_pixels]
        pixels = sum(count for _, count in odd)
        odd_names = [f"{name}: {count} pixels" for name, count in sorted(odd, key=lambda entry: -entry[1])]
        without_mask = [item.record.name for item in self.written if item.label is None]
        labelled = [item.record.name for item in self.written if item.class_pixels is not None]
        odd_masks_found = odd_masks(self._pixels()).items()
        parts = [
            *(_names(kind, self.inspection.problems.get(kind, ())) for kind in PROBLEMS),
            _names("Masks without an image, left out", [path.name for path in self.found.masks_without_image]),
            _names("Images without a usable mask, unlabelled", without_mask),
            *(_names(f"Masks {kind}", [labelled[place] for place in places]) for kind, places in odd_masks_found),
            _names(f"Masks with values between the classes ({pixels} pixels, given to the nearer class)", odd_names),
            _names("EXIF-turned images whose mask may lie the other way", self.inspection.doubtful_orientation),
        ]
        return "\n\n".join(parts)

    def _near_duplicates(self) -> str:
        if self.audit is None:
            return "Not looked for."
        across = self.audit.across(self.splits)
        kinds = Counter(pair.kind for pair in self.audit.pairs)
        kinds_across = Counter(pair.kind for pair in across)
        table = markdown_table(
            ["kind", "pairs", "across splits"], [[kind, kinds[kind], kinds_across[kind]] for kind in sorted(kinds)]
        )
        rows = [
            [*(f"{self.splits[p]}: {self.written[p].record.name}" for p in pair[:2]), pair.kind, f"{pair.distance:.3g}"]
            for pair in [*across, *(pair for pair in self.audit.pairs if pair not in across)]
        ]
        total = f"{len(self.audit.pairs)} pairs, {len(across)} of them across splits."
        if not rows:
            return total
        pairs = markdown_table(["image", "its near-duplicate", "kind", "distance"], rows)
        summary = "<details><summary>All pairs, those across splits first</summary>"
        return f"{total}\n\n{table}\n\n{summary}\n\n{pairs}\n\n</details>"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _names(heading: str, names: Sequence[str]) -> str:
    """A heading with the number of names, and the first of them."""
    if not names:
        return f"{heading}: none."
    first = "; ".join(map(markdown_cell, names[:_NAMES_SHOWN])) + and_more(len(names) - _NAMES_SHOWN)
    return f"{heading}: {len(names)} ({first})."
