"""Every key of the configurations that a user may set, with its type and range. A key is one line here.

What is no option, such as the definition of a network, is changed in an overlay file.
"""

from __future__ import annotations

from typing import TypedDict

from custom.labels import MOST_CLASSES
from custom.options.kinds import (
    DEVICE,
    LABELLED,
    NAME,
    PATH,
    SOURCE,
    TEXT,
    YES_OR_NO,
    choice,
    list_of,
    number,
    optional,
    whole,
)

__all__ = ["AutoencoderOptions", "EvaluationOptions", "InferenceOptions", "TrainingOptions"]

EPOCHS = whole(1, 1_000_000)
INTERVAL = whole(1, 1_000_000)
LABELLED_BATCH = whole(1, 4096)
UNLABELLED_BATCH = whole(0, 4096)
CHANNELS = whole(1, 4096)
IMAGES = whole(1, 1_000_000)
MAYBE_IMAGES = whole(0, 1_000_000)
SEED = whole(0, 2**32 - 1)
RATE = number(0, 100, above=True)
WEIGHT = number(0, 1e6)
SHARE = number(0, 1)
TEMPERATURE = number(0, 1e6, above=True)
RAMP = choice("iteration", "release", "release_epoch")


class Options(TypedDict, total=False):
    """Of every command."""

    bundle_root: PATH
    dataset_dir: PATH
    image_size: whole(16, 8192)
    bit_depth: optional(whole(8, 16))
    check_data: YES_OR_NO
    device: DEVICE
    amp: YES_OR_NO
    num_workers: whole(0, 256)
    run_name: NAME
    runs_dir: PATH
    output_dir: PATH


class DatalistOptions(Options, total=False):
    """Of commands that read a datalist."""

    datalist: PATH
    ignore_value: optional(whole(1, 65535))


class TrainedModelOptions(Options, total=False):
    """Of commands that use a trained model."""

    checkpoint: PATH
    bgr: YES_OR_NO


class EvaluationOptions(TrainedModelOptions, DatalistOptions, total=False):
    """Of evaluate.json."""

    split: choice("test", "validation", "labelled")
    eval_resize_mode: choice("bilinear", "nearest")


class InferenceOptions(TrainedModelOptions, total=False):
    """Of inference.json."""

    probability_maps: YES_OR_NO
    disagreement_maps: YES_OR_NO


class RunOptions(DatalistOptions, total=False):
    """Of everything that is trained."""

    labelled: LABELLED
    num_classes: whole(2, MOST_CLASSES)
    seed: SEED
    val_interval: INTERVAL
    learning_rate: RATE
    resume: YES_OR_NO
    checkpoint_interval: INTERVAL
    mlflow: YES_OR_NO
    mlflow_experiment: TEXT


class AutoencoderOptions(RunOptions, total=False):
    """Of train_autoencoder.json."""

    widths: list_of(CHANNELS, 2, 6)
    latent_channels: whole(1, 64)
    layers_per_block: whole(1, 8)
    norm_num_groups: CHANNELS
    epochs: EPOCHS
    labelled_batch: LABELLED_BATCH
    unlabelled_batch: UNLABELLED_BATCH
    kl_weight: WEIGHT
    half: YES_OR_NO


class PhantomOptions(TypedDict, total=False):
    """That quickstart.json adds."""

    phantom_modality: choice("ultrasound", "colonoscopy", "dermoscopy", "histology")
    phantom_labelled: IMAGES
    phantom_unlabelled: MAYBE_IMAGES
    phantom_validation: MAYBE_IMAGES
    phantom_test: MAYBE_IMAGES
    phantom_seed: SEED


class MethodOptions(TypedDict, total=False):
    """That the overlays in methods/ add."""

    confidence_threshold: optional(SHARE)
    strong_colour_change: SHARE
    strong_hue_change: number(0, 0.5)
    mixing_alpha: number(0, 1e6, above=True)
    rectifier_learning_rate: RATE
    refine_start: SHARE
    rectified_weight: WEIGHT
    calibration: choice("dice_loss", "dice")
    strong_target: choice("rectified", "weak")
    condition_in_down_path: YES_OR_NO
    diffusion_steps: whole(1, 1000)
    sampling_steps: whole(1, 1000)
    sampler: choice("ddim", "ddpm")
    clip_latent: YES_OR_NO
    proxy_to_embedding_weight: WEIGHT
    embedding_to_proxy_weight: WEIGHT
    anchor_weight: WEIGHT
    proxy_to_embedding_form: choice("class", "token")
    proxy_temperature: TEMPERATURE
    proxy_samples: whole(1, 100_000)
    scdl_start: SHARE


class TrainingOptions(RunOptions, PhantomOptions, MethodOptions, total=False):
    """Of train.json and its overlays."""

    largest_component: YES_OR_NO
    use_unlabelled: YES_OR_NO
    first_stage: SOURCE
    first_stage_subfolder: optional(PATH)
    width: optional(CHANNELS)
    mapper_width: CHANNELS
    adapters: choice("both", "image", "mask", "none")
    adapter_init: choice("default", "identity")
    latent_noise: choice("unscaled", "scaled", "off")
    label_divisor: choice("K-1", "K")
    label_range: choice("signed", "unsigned")
    preset: NAME
    method: NAME
    channels_last: YES_OR_NO
    alignment_epochs: whole(0, 1_000_000)  # 0 for methods without that stage alone
    alignment_labelled_batch: LABELLED_BATCH
    alignment_unlabelled_batch: UNLABELLED_BATCH
    alignment_val_interval: INTERVAL
    alignment_ramp: RAMP
    alignment_supervised_weight: WEIGHT
    alignment_beta: WEIGHT
    mapper_learning_rate: RATE
    encoder_learning_rate: RATE
    segmentation_epochs: EPOCHS
    segmentation_labelled_batch: LABELLED_BATCH
    segmentation_unlabelled_batch: UNLABELLED_BATCH
    segmentation_ramp: RAMP
    segmentation_supervised_weight: WEIGHT
    momentum: number(0, 1, below=True)
    weight_decay: number(0, 100)
    lr_cycles: whole(1, 10_000)
    lr_restart: choice("exact", "release")
    consistency_beta: WEIGHT
    pseudo: choice("hard", "soft", "off", "masked", "ssl4mis")
    pseudo_temperature: TEMPERATURE
    mixing_start: SHARE
    mixing_share: SHARE
    latent_weight: WEIGHT
    eval_resize_mode: choice("bilinear", "nearest")
    bgr: YES_OR_NO
    initial_weights: optional(PATH)
    panel_interval: INTERVAL
    backend: choice("gloo", "nccl", "cpu:gloo,cuda:nccl")
    starting_model: PATH
