"""Every key of the configurations that a user may set, with its type and range. A key is one line here.

A key with "#" is a value of a named part. Values of parts that are not listed go by `ARGUMENTS`, or are true or false.
"""

from __future__ import annotations

from typing import Any

from custom.labels import MOST_CLASSES
from custom.options.kinds import (
    DEVICE,
    LABELLED,
    NAME,
    PATH,
    SOURCE,
    TEXT,
    WINDOW,
    YES_OR_NO,
    choice,
    list_of,
    number,
    one_or_several,
    optional,
    whole,
)
from custom.pixels.page import MOST_MICRONS_PER_PIXEL

__all__ = ["ARGUMENTS", "COMMANDS", "PARTS", "Kinds"]

Kinds = dict[str, Any]
"""Keys with the kinds of their values, see `custom.options.kinds`."""

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
NAME_OF_ENCODER = TEXT  # `build_encoder` knows which there are
LABEL_CODE = choice("ordinal", "palette")
RAMP = choice("iteration", "release", "release_epoch")

COMMON: Kinds = {
    "bundle_root": PATH,
    "dataset_dir": PATH,
    "image_size": whole(16, 8192),
    "check_data": YES_OR_NO,
    "device": DEVICE,
    "amp": YES_OR_NO,
    "num_workers": whole(0, 256),
    "run_name": NAME,
    "runs_dir": PATH,
    "output_dir": PATH,
    "load#bgr": YES_OR_NO,
    "load#bit_depth": optional(whole(8, 16)),
}
LISTED: Kinds = {  # of commands that read a datalist
    "datalist": PATH,
    "load#ignore_value": optional(whole(1, 65535)),
    "load#num_classes": whole(2, MOST_CLASSES),
}
TRAINED: Kinds = {  # of everything that is trained
    "labelled": LABELLED,
    "seed": SEED,
    "val_interval": INTERVAL,
    "learning_rate": RATE,
    "resume": YES_OR_NO,
    "checkpoint_interval": INTERVAL,
    "num_threads": optional(whole(1, 1024)),
    "mlflow": YES_OR_NO,
    "tracker#experiment_name": TEXT,
    "tracker#tracking_uri": optional(TEXT),
    "tracker#registered_model": optional(TEXT),
    "optimizer#weight_decay": number(0, 100),
    "lr_scheduler#cycles": whole(1, 10_000),
    "lr_scheduler#power": number(0, 100),
    "lr_scheduler#restart": choice("exact", "release"),
    "train#trainer#max_epochs": EPOCHS,
}
NETWORKS: Kinds = {
    "network_def#num_classes": whole(2, MOST_CLASSES),
    "network_def#mapper_width": CHANNELS,
    "network_def#adapters": choice("both", "image", "mask", "none"),
    "network_def#adapter_init": choice("default", "identity"),
    "network_def#dropout": number(0, 1, below=True),
    "network_def#latent_noise": choice("unscaled", "scaled", "off"),
    "network_def#label_divisor": choice("K-1", "K"),
    "network_def#label_range": choice("signed", "unsigned"),
    "network_def#first_stage_scale": number(0, 1, above=True),
    "network_def#image_branch_weight": number(0, 1),
    "network_def#label_code": LABEL_CODE,
    "network_def#train_decoder": YES_OR_NO,
    "network_def#condition_in_down_path": YES_OR_NO,
    "network_def#diffusion_steps": whole(1, 1000),
    "network_def#sampling_steps": whole(1, 1000),
    "network_def#sampler": choice("ddim", "ddpm"),
    "network_def#clip_latent": YES_OR_NO,
    "network_def#temperature": TEMPERATURE,
    "network_def#samples": whole(1, 100_000),
    "network_def#decay": number(0, 1),
    "network_def#warm_up": YES_OR_NO,
    "network_def#inject_priors": YES_OR_NO,
    "network_def#cells": whole(2, 64),
    "network_def#location_width": CHANNELS,
    "network_def#memory_size": whole(1, 100_000),
    "network_def#memory_update": choice("ema", "released"),
    "network_def#edge_softmax": choice("positions", "height"),
    "network_def#attention_values": choice("own", "other"),
    "network_def#position_limit": whole(0, 1_000_000),
    "network_def#heads": whole(1, 64),
}
METHODS: Kinds = {  # of custom/methods
    "align#validation#interval": INTERVAL,
    "align#trainer#mapper_learning_rate": RATE,
    "align#trainer#encoder_learning_rate": RATE,
    "align#trainer#supervised_weight": WEIGHT,
    "align#trainer#consistency_weight#beta": WEIGHT,
    "align#trainer#consistency_weight#ramp": RAMP,
    "train#trainer#consistency_weight#beta": WEIGHT,
    "train#trainer#consistency_weight#ramp": RAMP,
    "train#trainer#one_connected_component": YES_OR_NO,
    "train#method#supervised_weight": WEIGHT,
    "train#method#pseudo": choice("hard", "soft", "off", "masked", "ssl4mis", "dice"),
    "train#method#pseudo_temperature": TEMPERATURE,
    "train#method#mixing_start": SHARE,
    "train#method#mixing_share": SHARE,
    "train#method#latent_weight": WEIGHT,
    "train#method#threshold": optional(SHARE),
    "train#method#distillation_weight": WEIGHT,
    "train#method#temperature": TEMPERATURE,
    "train#method#alpha": number(0, 1e6, above=True),
    "train#method#rectifier_learning_rate": RATE,
    "train#method#refine_start": SHARE,
    "train#method#rectified_weight": WEIGHT,
    "train#method#confidence_threshold": SHARE,
    "train#method#calibration": choice("dice_loss", "dice"),
    "train#method#strong_target": choice("rectified", "weak"),
    "train#method#proxy_to_embedding_weight": WEIGHT,
    "train#method#embedding_to_proxy_weight": WEIGHT,
    "train#method#anchor_weight": WEIGHT,
    "train#method#proxy_to_embedding_form": choice("class", "token"),
    "train#method#scdl_start": SHARE,
    "train#method#pretrain_share": SHARE,
    "train#method#mixing": YES_OR_NO,
    "train#method#cutmix_probability": SHARE,
    "train#method#hardest": number(0, 100, above=True),
    "train#method#class_exponent": SHARE,
    "train#method#floor": SHARE,
    "train#method#window": whole(1, 100_000),
    "train#method#gumbel": YES_OR_NO,
    "train#method#pseudo_from": choice("both", "psi"),
    "train#method#average_share": SHARE,
    "train#method#location_weight": WEIGHT,
    "train#method#cell_branch": YES_OR_NO,
    "train#method#blend_start": SHARE,
    "train#method#blended_cells": choice("unlabelled", "released_2023"),
    "train#method#start": SHARE,
    "train#method#discriminator_learning_rate": RATE,
    "train#method#discriminator_decay": choice("polynomial", "cumulative"),
    "train#method#warm_up": SHARE,
    "train#method#affinity": choice("differentiable", "released", "off"),
    "train#method#unsupervised_weight": WEIGHT,
    "train#method#inner": choice("closed", "adam"),
    "train#method#interval": whole(1, 100_000),
    "train#method#max_steps": whole(1, 100_000),
    "train#method#cross_weight": WEIGHT,
    "train#method#cross_start": SHARE,
    "train#method#independence_weight": WEIGHT,
    "train#method#independence_start": SHARE,
    "train#method#distance_weight": WEIGHT,
    "train#method#steepness": number(0, 1e6, above=True),
    "train#method#empty_distance": SHARE,
    "train#method#pseudo_weight": WEIGHT,
    "train#method#map_consistency_weight": WEIGHT,
    "train#method#rectification_weight": WEIGHT,
    "train#method#foreground": YES_OR_NO,
    "train#method#loss_scale": number(0, 1e6, above=True),
    "train#method#block": whole(1, 100_000),
    "train#method#co_training_weight": WEIGHT,
    "train#method#teacher_weight": WEIGHT,
    "train#method#decay": number(0, 1, below=True),
    "train#method#copies": whole(1, 64),
    "train#method#internal_weight": WEIGHT,
    "train#method#external_weight": WEIGHT,
    "train#method#adversary_weight": WEIGHT,
    "train#method#released_adversary": YES_OR_NO,
    "train#method#similarity_weight": WEIGHT,
    "train#method#normalised_axis": choice("channels", "width"),
    "soft_labels#kept_share": number(0, 1, above=True),
}
QUICKSTART: Kinds = {
    "phantom#modality": choice("ultrasound", "colonoscopy", "dermoscopy", "histology"),
    "phantom#labelled": IMAGES,
    "phantom#unlabelled": MAYBE_IMAGES,
    "phantom#validation": MAYBE_IMAGES,
    "phantom#test": MAYBE_IMAGES,
    "phantom#seed": SEED,
}

ARGUMENTS: Kinds = {  # of any part that has one of this name
    "prob": SHARE,
    "brightness": WEIGHT,
    "contrast": WEIGHT,
    "saturation": WEIGHT,
    "hue": number(0, 0.5),
    "shift": SHARE,
    "scale": number(0, 1, below=True),
    "rotate": number(0, 180),
    "max_k": whole(1, 3),
    "num_workers": whole(0, 256),
    "accumulation_steps": whole(1, 10_000),
    "passes": whole(1, 1000),
    "noise": WEIGHT,
    "lr": RATE,
    "momentum": number(0, 1, below=True),
    "weight_decay": number(0, 100),
    "betas": list_of(number(0, 1, below=True), 2, 2),
    "eps": SHARE,
    "best": MAYBE_IMAGES,
    "median": MAYBE_IMAGES,
    "worst": MAYBE_IMAGES,
    "title": TEXT,
}
"""Arguments of parts that an option may set although no key lists them."""

COMMANDS: dict[str, Kinds] = {
    "train": {
        **COMMON,
        **LISTED,
        **TRAINED,
        **NETWORKS,
        **METHODS,
        **QUICKSTART,
        "optimizer#momentum": number(0, 1, below=True),
        "use_unlabelled": YES_OR_NO,
        "first_stage": SOURCE,
        "first_stage_subfolder": optional(PATH),
        "width": optional(CHANNELS),
        "encoder": NAME_OF_ENCODER,
        "encoder_weights": optional(SOURCE),
        "encoder_learning_rate_factor": WEIGHT,
        "ema_decay": optional(number(0, 1, above=True, below=True)),
        "initial_weights": optional(PATH),
        "teacher": optional(one_or_several(PATH, 16)),
        "text_embeddings": optional(PATH),
        "preset": NAME,
        "method": NAME,
        "channels_last": YES_OR_NO,
        "alignment_epochs": EPOCHS,
        "alignment_labelled_batch": LABELLED_BATCH,
        "alignment_unlabelled_batch": UNLABELLED_BATCH,
        "segmentation_epochs": EPOCHS,
        "segmentation_labelled_batch": LABELLED_BATCH,
        "segmentation_unlabelled_batch": UNLABELLED_BATCH,
        "validate#panels#every": INTERVAL,
        "backend": choice("gloo", "nccl", "cpu:gloo,cuda:nccl"),
        "starting_model": PATH,
    },
    "train_autoencoder": {
        **COMMON,
        **LISTED,
        **TRAINED,
        "widths": list_of(CHANNELS, 2, 6),
        "latent_channels": whole(1, 64),
        "layers_per_block": whole(1, 8),
        "norm_num_groups": CHANNELS,
        "epochs": EPOCHS,
        "labelled_batch": LABELLED_BATCH,
        "unlabelled_batch": UNLABELLED_BATCH,
        "kl_weight": WEIGHT,
        "cache_rate": SHARE,
        "label_code": LABEL_CODE,
        "half": YES_OR_NO,
    },
    "evaluate": {**COMMON, **LISTED, "checkpoint": PATH, "split": choice("test", "validation", "labelled")},
    "inference": {
        **COMMON,
        "checkpoint": PATH,
        "window": WINDOW,
        "windows_above": optional(whole(64, 1_000_000)),
        "microns_per_pixel": optional(number(0, MOST_MICRONS_PER_PIXEL, above=True)),
        "probability_maps": YES_OR_NO,
        "disagreement_maps": YES_OR_NO,
    },
}
"""Keys by configuration."""

PARTS = frozenset(
    "imports initialize start run finalize training alignment segmentation from_scratch data facts found load resize "  # noqa: SIM905
    "augmentation model_details starting_details network_def network optimizer lr_scheduler align train validate test "
    "tracker session preprocessing postprocessing dataset dataloader inferer report evaluator handlers phantom "
    "listed slides table labels_only labelled_dataset soft_labels".split()
)
"""Names of parts of the configurations: no options, but changed in files."""
