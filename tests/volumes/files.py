"""Small volumes in files: NIfTI, NRRD, and DICOM as scanners write it."""

from __future__ import annotations

import nibabel
import nrrd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

AFFINE = np.array([[-1.5, 0.1, 0, 10], [0.1, 1.5, 0, 20], [0, 0, 8, 30], [0, 0, 0, 1.0]])


def write_nifti(path, values, affine=AFFINE):
    image = nibabel.Nifti1Image(values, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


def write_nrrd(path, values, spacing=(1, 2, 3), origin=(5, 6, 7)):
    header = {"space": "left-posterior-superior", "space directions": np.diag(spacing), "space origin": origin}
    nrrd.write(str(path), values, header)
    return path


def write_series(folder, values, spacing=(0.7, 0.5, 5.0), intercept=-1000, patient="p1"):
    """An axial CT series of values [columns, rows, slices]; the names of its files say nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(values.shape[2]):
        data = _dataset(CTImageStorage, "CT", patient)
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = frame, ""
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [-10, -20, 30 + spacing[2] * number]
        data.PixelSpacing, data.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, intercept, "HU"
        data.InstanceNumber = number + 1
        _set_pixels(data, (values[:, :, number].T - intercept).astype(np.uint16))
        data.save_as(folder / f"{(7 * number) % 11:02d}.dcm", enforce_file_format=True)
    return folder


def write_radiograph(path, values, bits=12, photometric="MONOCHROME1"):
    data = _dataset(ComputedRadiographyImageStorage, "CR")
    _set_pixels(data, values.T.astype(np.uint16), bits, photometric)
    data.save_as(path, enforce_file_format=True)
    return path


def write_ultrasound(path, values, photometric="RGB"):
    """Colours [columns, rows, 3], or several frames of them [columns, rows, frames, 3]."""
    frames = values.ndim == 4
    data = _dataset(UltrasoundMultiFrameImageStorage if frames else UltrasoundImageStorage, "US")
    if frames:
        data.NumberOfFrames, data.FrameTime, data.FrameIncrementPointer = values.shape[2], 30, 0x00181063
    stored = values.transpose(2, 1, 0, 3) if frames else values.transpose(1, 0, 2)
    _set_pixels(data, np.ascontiguousarray(stored.astype(np.uint8)), photometric=photometric)
    data.save_as(path, enforce_file_format=True)
    return path


def _dataset(storage, modality, patient="p1"):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = storage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientID, data.Modality, data.InstanceNumber, data.SeriesNumber = patient, modality, 1, 1
    for name in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(data, name, "")
    data.AccessionNumber = data.ReferringPhysicianName = ""
    return data


def _set_pixels(data, stored, bits=None, photometric="MONOCHROME2"):
    colour = photometric in ("RGB", "YBR_FULL")
    data.SamplesPerPixel = 3 if colour else 1
    if colour:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = stored.shape[-3:-1] if colour else stored.shape[-2:]
    data.BitsAllocated = stored.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PhotometricInterpretation = photometric
    data.PixelData = stored.tobytes()
