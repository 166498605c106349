"""Data: from the datalist to checked files and paired batches."""

from custom.data.check import check_dataset, data_fingerprint
from custom.data.datalist import load_datalist, read_datalist, read_num_classes
from custom.data.evaluation_sampler import evaluation_sampler
from custom.data.image_files import list_images
from custom.data.paired_loader import PairedLoader

__all__ = [
    "PairedLoader",
    "check_dataset",
    "data_fingerprint",
    "evaluation_sampler",
    "list_images",
    "load_datalist",
    "read_datalist",
    "read_num_classes",
]
