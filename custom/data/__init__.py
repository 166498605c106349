"""Data: from the datalist to checked files and paired batches."""

from custom.data.bit_depth import find_bit_depth, model_bit_depth
from custom.data.check import check_dataset, check_images, data_fingerprint
from custom.data.datalist import load_datalist, read_bit_depth, read_ignore_value, read_num_classes
from custom.data.evaluation_sampler import evaluation_sampler
from custom.data.image_files import list_images
from custom.data.paired_loader import PairedLoader

__all__ = [
    "PairedLoader",
    "check_dataset",
    "check_images",
    "data_fingerprint",
    "evaluation_sampler",
    "find_bit_depth",
    "list_images",
    "load_datalist",
    "model_bit_depth",
    "read_bit_depth",
    "read_ignore_value",
    "read_num_classes",
]
