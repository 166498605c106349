"""What a data set's files mean: which image belongs to which masks, patient and published split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from custom.volumes.window import AUTO, Window

__all__ = ["Found", "OpenedSource", "Record", "Release", "Request", "Source"]


@dataclass(frozen=True)
class OpenedSource:
    """A source as the user named it and the folder in which its files lie: itself, or where it was unpacked."""

    given: Path
    folder: Path


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Attributes:
        name: file name in the prepared set without suffix; "/" makes folders.
        image: the image file.
        masks: its mask files, joined when there are several; empty for an unlabelled image.
        group: patient or slide; images of a group stay on one side of seeded splits.
        split: "training", "validation" or "test" where a published split states it. "training" leaves open which images
            are held out for validation, if nothing is published on that.
        set_name: the set of a collection the image comes from.
        volume: name of the volume that the image is a slice of.
    """

    name: str
    image: Path
    masks: tuple[Path, ...] = ()
    group: str | None = None
    split: str | None = None
    set_name: str | None = None
    volume: str | None = None


@dataclass
class Found:
    """All that a source holds.

    Attributes:
        records: the images.
        masks_without_image: masks which no image takes.
        notes: facts for the report, one sentence each.
        warnings: facts the user should read at once, one sentence each.
        labelled_groups: published labelled subsets by name, as lists of groups, each continuing the smaller one.
    """

    records: list[Record]
    masks_without_image: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    labelled_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a finder of records may use.

    Attributes:
        sources: where to look.
        workspace: an empty folder for files the finder has to make (patches, slices); it vanishes afterwards.
        published_split: use published lists of test names where they apply.
        show_progress: show progress bars, if the standard error is a terminal.
        window: which values of volumes become black and white, see `custom.volumes.windowed`.
    """

    sources: Sequence[OpenedSource]
    workspace: Path
    published_split: bool = True
    show_progress: bool = False
    window: Window = AUTO


@dataclass(frozen=True)
class Release:
    """The label counts SemiGDA's release uses for a training set of `training` images."""

    training: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Source:
    """A data set the command knows.

    Attributes:
        name: its name on the command line.
        title: its name in words.
        layout: what is looked for, in words.
        find: finds the records, or raises an `InputError`.
        short_name: the data set's name in reports and tables, such as "BUSI"; "" for that of its folder or archive.
        class_names: names of the classes in the order of their indices; empty where the masks decide.
        one_connected_component: whether each class is one connected piece per image; None where the masks decide.
        fixed_scale: see `DataFacts`.
        masks: "binary" (any two grey values, thresholded at half), "indices" or "found" (classes are found).
        validation_share: default share held out for validation where nothing is published.
        test_share: likewise for the test.
        release: label counts of SemiGDA's release.
    """

    name: str
    title: str
    layout: str
    find: Callable[[Request], Found]
    short_name: str = ""
    class_names: tuple[str, ...] = ()
    one_connected_component: bool | None = None
    fixed_scale: bool = False
    masks: str = "binary"
    validation_share: float = 0.1
    test_share: float = 0.2
    release: Release | None = None
