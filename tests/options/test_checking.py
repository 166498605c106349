from __future__ import annotations

import time


def test_x(command, refusal):
    t = time.time()
    p = command("--num_classes", "2", "--image_size", "32", "--dataset_dir", "lesion,2024", "--amp", "yes", "--run_name", "1e3", "--seed", "7")
    print(time.time() - t, p["dataset_dir"], p["amp"], p["run_name"], p["seed"], p["alignment_beta"])
    for a in (["--image_size", "-3"], ["--imag", "3"], ["--train#trainer#max_epochs", "x"], ["--image_size"], ["--data", "x"], ["--run_name", "a/b"], ["--labelled", "['$a']"], ["--seed", "1", "--seed", "2"], ["-seed", "3"], ["--device", "cuda:7"],["--device", "foo"], ["--resume", "maybe"], ["--alignment_val_codec", "3"], ["--train#trainer#_target_", "os.system"],["--imports", "$x"], ["--first_stage_subfolder", "nope", "--first_stage", "/tmp"]):
        t = time.time()
        print(refusal("--num_classes", "2", *a), time.time() - t)
