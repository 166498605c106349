"""Find out what masks mean: each file is judged by itself, then whether the files can go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike

from custom.errors import InputError
from custom.pixels.mask_facts import NEAR_AN_END, MaskFacts
from custom.pixels.naming import shown_path
from custom.pixels.palettes import BLACK, Colour, palette_conflict
from custom.prepare.classes import ClassMap, ListedValues, TwoClasses, two_colours_with_black

__all__ = ["find_classes"]

MOST_CLASSES_FOUND = 64
_MOST_GREYS_FOUND = 16  # of class values spread over the greys; more are outlines that pass through the greys
_SMALL = 64  # smaller values are likely class indices, larger ones likely greys
_WHITES = (255, 65535)
_ODD_SHARE_AT_MOST = {"stray": 0.001, "smooth": 0.05, "lossy": 0.10}
_ASK = '--mask-colours such as "0=0 1=1 255=2" if they are classes'

EMPTY, ONES, WHITE, SMOOTH, PERHAPS_SMOOTH, INDICES, GREYS = (
    "empty", "ones", "white", "smooth", "perhaps smooth", "indices", "greys",
)  # fmt: skip
"""Kinds of files: 0 only; 0 and 1; 0 and 255 (or 65535); greys between 0 and 255 along outlines; greys that would be so
beside such files; small values; anything else."""

_TWO_CLASSES = {EMPTY, ONES, WHITE, SMOOTH}


def find_classes(files: Sequence[MaskFacts], ignore_value: int | None = None) -> ClassMap:
    """Find the classes in masks whose meaning is not known beforehand.

    Files of 0 and 1, of 0 and 255, of 0 and 65535, and of greys that pass smoothly from 0 to 255 are two classes, also
    beside each other. Otherwise each value is a class, in their order. A palette counts by its indices; one of greys by
    its greys; those of black and one other colour by their colours where indices are no guide.

    Args:
        files: the facts of all masks.
        ignore_value: value of undecided pixels; None if there is no such value.

    Raises:
        InputError: colours; one value only; values which cannot be classes; or files which may be meant in several
            ways. The message names one or two files.
    """
    _refuse_colours(files)
    palettes = [facts for facts in files if facts.palette is not None]
    by_colour = _are_by_colour(palettes)
    files = [facts.without(ignore_value) for facts in _without_palettes(files, palettes, by_colour)]
    values = sorted(frozenset().union(*(facts.values for facts in files)))
    if len(values) < 2:
        held = f"only the value {values[0]}" if values else "only undecided pixels"
        raise InputError(f"all masks hold {held}: there is nothing to segment; check the masks")
    kinds = _kinds(files)
    if set(kinds) <= _TWO_CLASSES:
        return TwoClasses({"0": 0, **dict.fromkeys(_foregrounds(files, kinds, by_colour), 1)}, ignore_value, by_colour)
    if by_colour:
        palette = next(facts for facts in files if facts.palette is not None)
        other = next(facts for facts, kind in zip(files, kinds, strict=True) if kind not in _TWO_CLASSES)
        raise InputError(_two_conventions(palette, other))
    if len(values) > 2 or any(facts.lossy for facts in files):
        _refuse_doubt(files, kinds, values)
    return ListedValues({str(value): index for index, value in enumerate(values)}, ignore_value)


def _foregrounds(files: Sequence[MaskFacts], kinds: Sequence[str], by_colour: bool) -> Iterator[str]:
    """The values and colours that mean foreground, to be written down."""
    plain, colours = {255} if SMOOTH in kinds else set(), set()
    for facts, kind in zip(files, kinds, strict=True):
        if by_colour and facts.palette is not None:
            colours |= set(facts.palette.values()) - {BLACK}
        elif kind in (ONES, WHITE):
            plain.add(max(facts.counts))
    yield from map(str, sorted(plain))
    yield from (",".join(map(str, colour)) for colour in sorted(colours))


def _refuse_colours(files: Sequence[MaskFacts]) -> None:
    coloured = next((facts for facts in files if facts.colours), None)
    if coloured is None:
        return
    shown = " ".join(f"{red},{green},{blue}=?" for red, green, blue in list(coloured.colours)[:4])
    raise InputError(
        f'{shown_path(coloured.path)}: the mask is in colour; state what it means: --mask-colours "{shown}"'
    )


def _without_palettes(files: Sequence[MaskFacts], palettes: Sequence[MaskFacts], by_colour: bool) -> list[MaskFacts]:
    """The files with plain values in the place of palette indices.

    Raises:
        InputError: palettes which disagree, or which order indices otherwise than their greys do.
    """
    if by_colour:
        return [facts if facts.palette is None else _by_colour(facts) for facts in files]
    if line := palette_conflict(_palettes(palettes)):
        raise InputError(f"{line}, or give --mask-colours")
    for facts in palettes:
        if facts.odd_order:
            shown = " ".join(f"{','.join(map(str, colour))}=?" for colour in list(facts.palette.values())[:4])
            raise InputError(
                f"{shown_path(facts.path)}: {facts.odd_order} in the mask's palette, so that its background is "
                f'uncertain; state what it means: --mask-colours "{shown}"'
            )
    return [facts if facts.palette is None else _by_grey_or_index(facts) for facts in files]


def _are_by_colour(palettes: Sequence[MaskFacts]) -> bool:
    """Whether indices are no guide to the palettes, but two colours are of which one is black."""
    if not two_colours_with_black({colour for facts in palettes for colour in facts.palette.values()}):
        return False
    return any(facts.odd_order for facts in palettes) or palette_conflict(_palettes(palettes)) is not None


def _palettes(files: Sequence[MaskFacts]) -> list[tuple[str | PathLike[str], Mapping[int, Colour]]]:
    return [(facts.path, facts.palette) for facts in files]


def _by_colour(facts: MaskFacts) -> MaskFacts:
    counts: dict[int, int] = {}
    for index, count in facts.counts.items():
        value = int(facts.palette[index] != BLACK)
        counts[value] = counts.get(value, 0) + count
    return facts.with_counts(counts)


def _by_grey_or_index(facts: MaskFacts) -> MaskFacts:
    if not facts.grey_palette:
        return facts.with_counts(facts.counts)
    return facts.with_counts({facts.palette[index][0]: count for index, count in facts.counts.items()})


def _kinds(files: Sequence[MaskFacts]) -> list[str]:
    kinds = [_kind(facts) for facts in files]
    if SMOOTH in kinds or _are_smooth_together(
        [facts for facts, kind in zip(files, kinds, strict=True) if kind == PERHAPS_SMOOTH]
    ):
        return [SMOOTH if kind == PERHAPS_SMOOTH else kind for kind in kinds]
    return [GREYS if kind == PERHAPS_SMOOTH else kind for kind in kinds]


def _kind(facts: MaskFacts) -> str:
    values = facts.values
    if values <= {0}:
        return EMPTY
    if facts.lossy:
        return SMOOTH if _is_lossy_two(facts) else INDICES if max(values) < _SMALL else GREYS
    if values <= {0, 1}:
        return ONES
    if any(values <= {0, white} for white in _WHITES[: facts.bits // 8]):
        return WHITE
    if facts.smooth or _is_nearly_two(facts.counts):
        return SMOOTH
    if max(values) < _SMALL:
        return INDICES
    return PERHAPS_SMOOTH if 0 in values and len(values) > 2 and _reaches_white(facts.counts) else GREYS


def _is_lossy_two(facts: MaskFacts) -> bool:
    """JPEG that was 0 and 255: nearly all values lie near the ends."""
    between = sum(n for value, n in facts.counts.items() if NEAR_AN_END < value < 255 - NEAR_AN_END)
    return max(facts.counts) >= 255 - NEAR_AN_END and between <= _ODD_SHARE_AT_MOST["lossy"] * sum(
        facts.counts.values()
    )


def _is_nearly_two(counts: Mapping[int, int]) -> bool:
    """0 and 255 with very few values close to them."""
    odd = {value: count for value, count in counts.items() if value not in (0, 255)}
    near = all(min(value, 255 - value) <= NEAR_AN_END for value in odd)
    share = sum(odd.values()) / sum(counts.values())
    return {0, 255} <= counts.keys() and near and share <= _ODD_SHARE_AT_MOST["stray"]


def _reaches_white(counts: Mapping[int, int]) -> bool:
    return 255 - NEAR_AN_END <= max(counts) <= 255


def _are_smooth_together(files: Sequence[MaskFacts]) -> bool:
    """Whether files that hold too few greys to decide have, all in all, few greys of all kinds between 0 and 255."""
    odd: dict[int, int] = {}
    for facts in files:
        for value, count in facts.counts.items():
            if value not in (0, 255):
                odd[value] = odd.get(value, 0) + count
    total = sum(count for facts in files for count in facts.counts.values())
    return {value // 64 for value in odd} == {0, 1, 2, 3} and sum(odd.values()) <= _ODD_SHARE_AT_MOST["smooth"] * total


def _refuse_doubt(files: Sequence[MaskFacts], kinds: Sequence[str], values: Sequence[int]) -> None:
    """Raise an `InputError` where values as classes, in their order, may not be what is meant."""
    by_kind: dict[str, list[MaskFacts]] = {}
    for facts, kind in zip(files, kinds, strict=True):
        by_kind.setdefault(kind, []).append(facts)
    of_classes = [*by_kind.get(INDICES, ()), *by_kind.get(GREYS, ())]
    _refuse_blurred(of_classes)
    if SMOOTH in by_kind and of_classes:
        raise InputError(_two_conventions(by_kind[SMOOTH][0], of_classes[0]))
    if WHITE in by_kind and INDICES in by_kind:
        raise InputError(_two_conventions(by_kind[WHITE][0], by_kind[INDICES][0]))
    _refuse_too_many(files, values)
    _refuse_undecided(files, values)
    _refuse_several_foregrounds(files)
    if ONES in by_kind and min(values[values.index(1) + 1 :]) >= _SMALL:
        raise InputError(_two_conventions(by_kind[ONES][0], [*of_classes, *by_kind.get(WHITE, ())][0]))
    for facts in by_kind.get(WHITE, ()):
        white = max(facts.counts)
        is_shared = any(white in other.values for other in of_classes)
        if of_classes and not is_shared and (white == _WHITES[1] or max(values) > _WHITES[0]):
            raise InputError(_two_conventions(facts, of_classes[0]))


def _refuse_blurred(files: Sequence[MaskFacts]) -> None:
    for facts in files:
        if facts.lossy and (len(facts.counts) > 2 or max(facts.counts) < _SMALL):
            raise InputError(
                f"{shown_path(facts.path)}: the mask is JPEG with {len(facts.counts)} grey values, which blurs them; "
                'save it as PNG, or give --mask-colours "0=0 128=1 255=2" with your values'
            )


def _refuse_too_many(files: Sequence[MaskFacts], values: Sequence[int]) -> None:
    limit = MOST_CLASSES_FOUND if values[-1] < _SMALL else _MOST_GREYS_FOUND
    if len(values) > limit:
        most = max(files, key=lambda facts: len(facts.counts))
        raise InputError(
            f"the masks hold {len(values)} values from {values[0]} to {values[-1]}, too many for classes (at most "
            f"{limit}; most in {shown_path(most.path)}); save one value per class, or give --mask-colours"
        )


def _refuse_several_foregrounds(files: Sequence[MaskFacts]) -> None:
    """Raise an `InputError` where each file holds one value besides 0, a grey that differs from file to file.

    These may be classes of which each image holds one, or two classes that several people saved in several ways.
    """
    marked = [facts for facts in files if facts.values - {0}]
    if any(len(facts.values - {0}) > 1 for facts in marked):
        return
    by_value = {max(facts.values): facts for facts in reversed(marked)}
    lowest, second = sorted(by_value)[:2] if len(by_value) > 1 else (0, 0)
    if second and max(by_value) >= _SMALL:
        raise InputError(_two_conventions(by_value[lowest], by_value[second]))


def _refuse_undecided(files: Sequence[MaskFacts], values: Sequence[int]) -> None:
    """Raise an `InputError` for a value far beyond small class indices: it often marks pixels that are undecided."""
    *rest, last = values
    have_gaps = rest != list(range(rest[0], rest[-1] + 1))
    if last < _SMALL or rest[-1] >= _SMALL or (have_gaps and last not in (254, *_WHITES)):
        return
    path = shown_path(next(facts.path for facts in files if last in facts.values))
    raise InputError(
        f"{path}: the value {last} stands beside the values {', '.join(map(str, rest[:5]))}"
        f"{', ...' if len(rest) > 5 else ''}; give --ignore-value {last} if it marks undecided pixels, or {_ASK}"
    )


def _two_conventions(first: MaskFacts, second: MaskFacts) -> str:
    held = [f"{shown_path(facts.path)} holds {_listed(sorted(facts.values))}" for facts in (first, second)]
    highest = max(first.values | second.values)
    return (
        f"{held[0]}, {held[1]}: these do not go together; give --ignore-value {highest} if it marks undecided pixels, "
        f"or {_ASK}, or save all masks alike"
    )


def _listed(values: Sequence[int], shown: int = 4) -> str:
    return ", ".join(map(str, values[:shown])) + (", ..." if len(values) > shown else "")
