"""A DICOM store, Orthanc with its DICOMweb plugin, at 127.0.0.1, while a script or a test needs it."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pydicom
import requests
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from custom.errors import InputError
from scripts.child import Child
from scripts.label_server import free_port

__all__ = ["Orthanc", "Series"]

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Series(NamedTuple):
    """The UIDs of a series and its study."""

    study: str
    series: str


class Orthanc:
    """Context manager: an empty store, as Debian's packages `orthanc` and `orthanc-dicomweb` bring it.

    Args:
        folder: where it keeps its files.
        patience: seconds to wait for its first answer.

    Attributes:
        url: where it listens; its DICOMweb is at `url`/dicom-web.

    Raises:
        InputError: it is not installed, or does not start.
    """

    def __init__(self, folder: Path, patience: float = 60.0) -> None:
        self.folder = Path(folder)
        self.patience = patience
        self.url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Orthanc:
        if not self.is_installed():
            raise InputError("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
        settings = {
            "StorageDirectory": str(self.folder / "store"),
            "IndexDirectory": str(self.folder / "store"),
            "HttpPort": int(self.url.rsplit(":", 1)[1]),
            "HttpBindAddresses": ["127.0.0.1"],
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        with open(self.folder / "log", "w") as log:
            self._child = Child(["Orthanc", str(self.folder / "orthanc.json")], log)
        end = time.monotonic() + self.patience
        while self._child.process.poll() is None and time.monotonic() < end:
            try:
                requests.get(f"{self.url}/system", timeout=5)
                return self
            except requests.ConnectionError:
                time.sleep(0.2)
        self._child.stop()
        raise InputError(f"Orthanc did not start; see {self.folder / 'log'} for the reason")

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._child.stop()

    @staticmethod
    def is_installed() -> bool:
        """Whether the program and its plugin are there."""
        return shutil.which("Orthanc") is not None and PLUGIN.is_file()

    def send(self, slices: NDArray[np.int16], spacing: tuple[float, float, float] = (1, 1, 3)) -> Series:
        """Store slices as a series of CT.

        Args:
            slices: values [slices, rows, columns], -32768 to 32767.
            spacing: between rows, columns and slices, in millimetres.
        """
        uids = Series(generate_uid(), generate_uid())
        frame = generate_uid()
        for number, pixels in enumerate(slices):
            dataset = Dataset()
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.is_little_endian, dataset.is_implicit_VR = True, False
            dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids
            dataset.FrameOfReferenceUID = frame
            dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "PHANTOM", "Phantom^A"
            dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "101010", "1"
            dataset.StudyDescription = dataset.SeriesDescription = "Phantom"
            dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
            dataset.ImagePositionPatient = [-10, -20, spacing[2] * number]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.PixelSpacing, dataset.SliceThickness = list(spacing[:2]), spacing[2]
            dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape, 1
            dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
            low, high = int(slices.min()), int(slices.max())
            dataset.WindowCenter, dataset.WindowWidth = (low + high) / 2, high - low + 1
            dataset.PixelData = pixels.astype("<i2").tobytes()
            content = io.BytesIO()
            pydicom.dcmwrite(content, dataset, write_like_original=False)
            requests.post(f"{self.url}/instances", data=content.getvalue()).raise_for_status()
        return uids
