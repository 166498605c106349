"""A folder of images and labels on the server's disk, with a check of all that is stored in it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from filelock import FileLock
from monailabel.datastore.local import LocalDatastore

from custom.errors import InputError
from custom.files import is_system_file
from custom.monai_label.label_files import check_image, convert_label
from custom.monai_label.names import LABEL_SUFFIXES, check_name, check_upload, is_plain, same_name, split_suffix

__all__ = ["CheckedDatastore", "label_to_store"]

logger = logging.getLogger(__name__)


class CheckedDatastore(LocalDatastore):
    """MONAI Label's local datastore, which checks each name, image and label before it replaces anything.

    Names of images and tags are plain names; files of other names or types, hidden files, and what is no regular file
    are passed over. Links that the owner of the folder put there are read, but nothing is written or removed through
    one.

    An unknown image is answered with status 404, and 400 stands for a name or type that is not allowed, a file that
    cannot be read, and a label of another size than its image. What was stored before is still there.

    Args:
        path: the folder.
        class_names: gives the class index by name.
        options: see `LocalDatastore`.
    """

    def __init__(self, path: str, class_names: Callable[[], Mapping[str, int]] = dict, **options: Any) -> None:
        self.class_names = class_names
        super().__init__(path, **options)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image."""
        suffix = check_upload(image_filename)
        image_id = self._known_as(check_name(same_name(image_id), "image"))
        if self._to_id(image_id)[1]:
            raise HTTPException(400, f"image {image_id}: give the name without {self._to_id(image_id)[1]}")
        try:
            check_image(image_filename)
        except InputError as error:
            raise _refusal(f"image {image_id}", image_filename, error) from error
        self._require_inside(self._datastore.image_path(), image_id + suffix)
        return super().add_image(image_id, image_filename, image_info)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label of an image, in the format of the image; see `convert_label`."""
        image_id = self._known_as(check_name(image_id, "image"))
        uri = self.get_image_uri(image_id)
        if not uri:
            raise HTTPException(404, f"label of {image_id}: the datastore has no such image; upload the image first")
        with label_to_store(image_id, uri, label_filename, label_tag, label_info, self.class_names()) as label:
            self._require_inside(self._datastore.label_path(label_tag), image_id + self._to_id(label.name)[1])
            return super().save_label(image_id, str(label), label_tag, label_info)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels."""
        found = self._datastore.objects.get(image_id)
        if found is None:
            raise HTTPException(404, f"the datastore has no image {image_id!r}")
        self._require_inside(self._datastore.image_path(), image_id + found.image.ext)
        for tag, label in found.labels.items():
            self._require_inside(self._datastore.label_path(tag), image_id + label.ext)
        super().remove_image(image_id)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label."""
        label = self._datastore.label(label_id, label_tag)
        if label is None:
            raise HTTPException(404, f"the datastore has no label {label_tag!r} of {label_id!r}")
        self._require_inside(self._datastore.label_path(label_tag), label_id + label.ext)
        super().remove_label(label_id, label_tag)

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A zip file of the images with a final label, and of these."""
        if not self.datalist():
            raise HTTPException(404, "no image has a final label yet: there is nothing to download")
        return super().get_dataset_archive(limit_cases)

    def _known_as(self, image_id: str) -> str:
        """The name of the stored image that differs in its Unicode form alone, else the name itself."""
        objects = self._datastore.objects
        if image_id in objects:
            return image_id
        return next((name for name in objects if same_name(name) == same_name(image_id)), image_id)

    def _require_inside(self, folder: str, name: str) -> None:
        """Refuse to write or remove a file that is a link, or in a folder that a link leads out of the datastore."""
        path, root = Path(folder, name), Path(self._datastore_path).resolve()
        if path.is_symlink() or not path.parent.resolve().is_relative_to(root):
            raise HTTPException(400, f"{name} is a link out of the datastore, which is only read")

    def update_image_infos(self, infos: Mapping[str, Mapping[str, Any]]) -> None:
        """Note something about many images and write the datastore's list once; images that are gone are left out."""
        with FileLock(self._lock_file):
            for image, info in infos.items():
                if image in self._datastore.objects:
                    self._datastore.objects[image].image.info.update(info)
            self._update_datastore_file(lock=False)

    def _to_id(self, file: str) -> tuple[str, str]:
        """Name and suffix of a file; MONAI Label's own takes a suffix out of the middle of a name, too."""
        return split_suffix(file)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        files = super()._list_files(path, patterns)
        return {name: file for name, file in files.items() if self._is_taken(Path(path, file))}

    def _is_taken(self, path: Path) -> bool:
        if is_system_file(path) or not self._to_id(path.name)[1]:
            return False
        if not is_plain(self._to_id(path.name)[0]):
            logger.warning("%r is passed over: rename it to a plain name such as case_001%s", path.name, path.suffix)
            return False
        return path.is_file()  # no FIFO, since reading one would never end

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Read the datastore's list, and leave out what leads out of its folder."""
        super()._init_from_datastore_file(throw_exception)
        self._datastore.images_dir, self._datastore.labels_dir = ".", "labels"
        objects = self._datastore.objects
        for name, entry in list(objects.items()):
            if not (is_plain(name) and _is_suffix(entry.image.ext)):
                logger.warning("image %r of the datastore's list is passed over", name)
                del objects[name]
            for tag, label in list(entry.labels.items()):
                if not (is_plain(tag) and _is_suffix(label.ext)):
                    logger.warning("label %r of %r in the datastore's list is passed over", tag, name)
                    del entry.labels[tag]


def _is_suffix(text: str) -> bool:
    return text == "" or (text.startswith(".") and is_plain(f"name{text}"))


@contextmanager
def label_to_store(
    image_id: str, image: str, file: str, tag: str, info: Mapping[str, Any] | None, names: Mapping[str, int]
) -> Iterator[Path]:
    """Context manager: a label that was sent, in the format of its image; the file is there meanwhile.

    Args:
        image_id: name of the image, for errors.
        image: file of the image.
        file: the label as it was sent.
        tag: of the label.
        info: what a viewer says of the label.
        names: class index by name.

    Raises:
        InputError: a tag or a type of file that is not allowed.
        HTTPException: the label does not fit, see `convert_label`; or an `InputError` of what is done meanwhile.
    """
    suffix = check_upload(file, LABEL_SUFFIXES)
    check_name(tag, "tag")
    with tempfile.TemporaryDirectory() as folder:
        sent = Path(folder) / f"sent{suffix}"  # a name that MONAI Label takes apart as we do
        shutil.copyfile(file, sent)
        try:
            yield convert_label(sent, Path(image), Path(folder), names, _segments_of(info))
        except InputError as error:
            raise _refusal(f"label of {image_id}", str(sent), error) from error


def _segments_of(info: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """What a viewer says of the values of a label."""
    segments = (info or {}).get("label_info")
    return [each for each in segments if isinstance(each, Mapping)] if isinstance(segments, list) else []


def _refusal(name: str, path: str, error: InputError) -> HTTPException:
    """The error names a file as the client does, not by the server's temporary file."""
    message = str(error)
    for text in (str(path), Path(path).name):
        message = message.replace(text, f"the {split_suffix(text, LABEL_SUFFIXES)[1].lstrip('.')} file")
    return HTTPException(400, f"{name}: {message}")
