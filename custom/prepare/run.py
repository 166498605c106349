"""From a source to a prepared folder, step by step."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from custom.errors import InputError, one_line
from custom.pixels.images import LEAST_BIT_DEPTH, MOST_BIT_DEPTH
from custom.pixels.page import allow_large_pictures
from custom.prepare.archives import ArchiveLimits
from custom.prepare.audit import Audit, audit_images
from custom.prepare.classes import ClassMap, ListedValues, TwoClasses, read_mask_colours
from custom.prepare.conventions import find_classes
from custom.prepare.datalist_file import datalist_content, find_facts
from custom.prepare.identical import drop_copies, image_digests
from custom.prepare.inspection import Inspection, inspect_records
from custom.prepare.next_step import training_command, warn_of_few
from custom.prepare.opening import as_given, check_sources, errors_as_given, open_sources
from custom.prepare.options import PrepareOptions
from custom.prepare.output import Workplace, is_prepared, source_digest, workplace
from custom.prepare.records import Found, OpenedSource, Request, Source
from custom.prepare.report import Report
from custom.prepare.report_pictures import draw_examples
from custom.prepare.sources import SOURCES, WITH_VOLUMES
from custom.prepare.splits import Entry, assign_splits, join_groups
from custom.prepare.subsets import labelled_subsets, labelling_order
from custom.prepare.writing import WritingPlan, Written, write_records
from custom.volumes.window import AUTO

__all__ = ["Prepared", "prepare_dataset"]


@dataclass(frozen=True)
class Prepared:
    """What `prepare_dataset` did.

    Attributes:
        folder: the prepared folder.
        was_there: it was there already, whole, from the same source and options: nothing was done.
        counts: images by split.
        warnings: what the user should read, one sentence each.
        next_command: the command which trains on the folder.
        classes: the classes found in the masks and the share of each, one line per class.
    """

    folder: Path
    was_there: bool
    counts: dict[str, int]
    warnings: Sequence[str] = ()
    next_command: str = ""
    classes: Sequence[str] = ()


def prepare_dataset(
    dataset: str,
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: PrepareOptions | None = None,
    overwrite: bool = False,
    limits: ArchiveLimits | None = None,
    show_progress: bool = True,
) -> Prepared:
    """Turn a downloaded data set into images, class-index masks, `datalist.json` and `report.md`.

    Nothing is written outside `output` and a hidden folder beside it, which vanishes; `output` appears whole or not at
    all. With the same arguments and an unchanged source a second call does nothing.

    Args:
        dataset: a name of `SOURCES`.
        sources: folders, or .zip, .tar, .tar.gz archives, which are not trusted.
        output: the folder to make.
        options: see `PrepareOptions`.
        overwrite: make anew a folder that this function made otherwise.
        limits: bounds on what archives may unpack to.
        show_progress: show progress bars, if the standard error is a terminal.

    Raises:
        InputError: anything about the source, the options or the output that the user has to correct.
    """
    options = options or PrepareOptions()
    source = _known(dataset)
    if options.mask_colours and source.masks != "found":
        raise InputError(f"--mask-colours is for the data set folder; leave it out, the masks of {dataset} are known")
    if options.ignore_value is not None and source.masks != "found":
        raise InputError(f"--ignore-value is for the data set folder; leave it out, the masks of {dataset} are known")
    if options.one_connected_component is not None and source.one_connected_component is not None:
        raise InputError(
            "--one-component and --several-components are for the data set folder; leave them out, the masks of "
            f"{dataset} are known"
        )
    if options.window != AUTO and source.name not in WITH_VOLUMES:
        raise InputError(f"--window is for volumes (folder, acdc); leave it out, {dataset} has none")
    given = [Path(os.path.abspath(path)) for path in sources]
    output = Path(os.path.abspath(output))
    check_sources(given, output)
    request = {
        "dataset": dataset,
        "options": json.loads(json.dumps(asdict(options))),
        "sources": [source_digest(path) for path in given],
    }
    if is_prepared(output, request, overwrite):
        return Prepared(output, True, _counts(output), next_command=training_command(dataset, output))
    with allow_large_pictures(), workplace(output, request) as place:
        opened = open_sources(given, place.unpacked, limits, show_progress)
        with errors_as_given(opened):
            report = _prepare(source, opened, place, options, show_progress)
    command = training_command(dataset, output)
    return Prepared(output, False, _counts(output), report.warnings, command, report.classes())


def _prepare(
    source: Source, opened: Sequence[OpenedSource], place: Workplace, options: PrepareOptions, show_progress: bool
) -> Report:
    """Fill `place.prepared`; returns the report."""
    found = source.find(Request(opened, place.made, options.published_split, show_progress, options.window))
    inspection = inspect_records(found.records, options.max_side, show_progress)
    for lines in inspection.problems.values():
        lines[:] = [as_given(line, opened) for line in lines]
    class_map = _class_map(source, inspection, options)
    levels = [facts.levels for _, facts in inspection.sound if facts.levels is not None]
    bit_depth = max(LEAST_BIT_DEPTH, max(levels).bit_length()) if levels else None
    plan = WritingPlan(place.prepared, class_map, options.max_side, bit_depth or MOST_BIT_DEPTH)
    written, copies = drop_copies(place.prepared, write_records(inspection.sound, plan, show_progress))
    found.warnings += copies
    place.forget_sources()

    audit = audit_images(place.prepared, written, show_progress) if options.audit else None
    splits = _splits(source, written, audit, options)
    subsets = _subsets(source, found, written, splits, options)
    training_masks = [
        str(place.prepared / item.label)
        for item, split in zip(written, splits, strict=True)
        if split == "training" and item.label
    ]
    facts = find_facts(
        source,
        opened[0].given,
        class_map,
        bit_depth,
        training_masks,
        options.one_connected_component,
        options.window,
        options.fixed_scale,
        options.microns_per_pixel,
    )
    report = Report(
        source,
        [part.given for part in opened],
        found,
        inspection,
        class_map,
        facts,
        written,
        splits,
        subsets,
        options.seed,
        audit,
    )
    warnings = [*_warnings(found, inspection, splits, audit, options), *report.class_warnings()]
    report.warnings = list(map(one_line, warnings))
    description = " ".join([source.title + ".", *found.notes])
    content = datalist_content(description, options.seed, facts, class_map.classes, written, splits, subsets)
    _write_json(place.prepared / "datalist.json", content)
    report.pictures = _draw_pictures(place.prepared, report)
    (place.prepared / "report.md").write_text(report.markdown(), encoding="utf-8", errors="backslashreplace")
    return report


def _known(dataset: str) -> Source:
    if dataset not in SOURCES:
        raise InputError(f"{dataset!r} is no data set this command knows; choose one of {', '.join(SOURCES)}")
    return SOURCES[dataset]


def _class_map(source: Source, inspection: Inspection, options: PrepareOptions) -> ClassMap:
    if options.mask_colours:
        return read_mask_colours(options.mask_colours, options.ignore_value)
    if source.masks == "found":
        return find_classes(inspection.masks, options.ignore_value)
    if source.masks == "indices":
        return ListedValues({str(index): index for index in range(len(source.class_names))})
    return TwoClasses()


def _splits(source: Source, written: Sequence[Written], audit: Audit | None, options: PrepareOptions) -> list[str]:
    groupings = [[item.record.group for item in written], image_digests(written)]
    if options.group_duplicates and audit is not None:
        groupings.append(audit.groups)
    groups = join_groups(*groupings)
    entries = [
        Entry(item.record.name, group, item.record.split, item.label is not None)
        for item, group in zip(written, groups, strict=True)
    ]
    validation_share = source.validation_share if options.validation_share is None else options.validation_share
    test_share = source.test_share if options.test_share is None else options.test_share
    splits = assign_splits(entries, validation_share, test_share, options.seed)
    if not any(split == "training" and item.label for split, item in zip(splits, written, strict=True)):
        raise InputError("no labelled image is left for training; lower --validation-share and --test-share")
    return splits


def _subsets(
    source: Source, found: Found, written: Sequence[Written], splits: Sequence[str], options: PrepareOptions
) -> dict[str, list[str]]:
    labelled = [(item, split) for item, split in zip(written, splits, strict=True) if item.label is not None]
    training = [(item.image, item.record.group) for item, split in labelled if split == "training"]
    first_groups = [group for groups in found.labelled_groups.values() for group in groups]
    order = labelling_order(training, options.seed, list(dict.fromkeys(first_groups)))
    named = {name: sum(group in groups for _, group in training) for name, groups in found.labelled_groups.items()}
    training_size = sum(split != "test" for _, split in labelled)
    return labelled_subsets(order, training_size, options.labelled_counts, source.release, named)


def _warnings(
    found: Found, inspection: Inspection, splits: Sequence[str], audit: Audit | None, options: PrepareOptions
) -> list[str]:
    warnings = list(found.warnings)
    for kind, lines in inspection.problems.items():
        warnings.append(f"{kind}: {len(lines)} ({lines[0]}{', ...' if len(lines) > 1 else ''}).")
    warnings += _without_partner(found)
    if inspection.doubtful_orientation:
        warnings.append(f"{len(inspection.doubtful_orientation)} EXIF-turned images: check that their masks fit.")
    for split in ("validation", "test"):
        if split not in splits:
            warnings.append(f"No {split} images: too few labelled images, or a share of 0.")
    warnings += warn_of_few({split: splits.count(split) for split in ("validation", "test")})
    if audit is not None and (across := audit.across(splits)):
        if options.group_duplicates:
            fix = "the published split stays as it is; --seeded-split draws one without them"
        else:
            fix = "see the report and --group-duplicates"
        warnings.append(f"{len(across)} pairs of near-duplicate images lie in different splits: {fix}.")
    return warnings


def _without_partner(found: Found) -> list[str]:
    """Masks without an image and images without a mask, counted in one line."""
    images = [record.image for record in found.records if not record.masks]
    kinds = (("masks have no image", found.masks_without_image), ("images have no mask", images))
    lines = [f"{len(paths)} {kind} (first {paths[0].name})" for kind, paths in kinds if paths]
    return [f"{' and '.join(lines)}."] if lines else []


def _draw_pictures(folder: Path, report: Report) -> dict[str, str]:
    (folder / "report").mkdir()
    pictures = {"Examples": "report/examples.png"}
    draw_examples(folder, report.written, report.splits, report.facts.class_names, folder / pictures["Examples"])
    if report.audit is not None and report.audit.pairs:
        pictures["Near-duplicates, those across splits first"] = "report/near_duplicates.png"
        report.audit.draw(folder, report.written, report.splits, folder / "report/near_duplicates.png")
    return pictures


def _counts(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "datalist.json").read_text(encoding="utf-8"))
    return {split: len(content[split]) for split in ("training", "validation", "test")}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
