"""Measures the accuracy of a fitted head on several backbones: `regraft train --freeze backbone` on DATA.

    cargo build --release
    python bench/backbones.py DATA WEIGHTS...

DATA has `train` and `test`. WEIGHTS are weight files as they were downloaded, each as ARCHITECTURE=FILE; the embedded
EfficientNet-Lite0 comes first. Each file is converted by `regraft weights convert` before it is used. Prints a Markdown table:
image size, parameters with the new head, the accuracy cross-validated on the training images, the accuracy on the test images and
their mean loss. `--times` adds the seconds of a run from a cold start, which mean something only on an idle machine.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"


def run(regraft, *words, folder):
    environment = {**os.environ, "REGRAFT_CACHE": str(folder / "cache")}
    return subprocess.run([regraft, *map(str, words)], check=True, capture_output=True, text=True, env=environment).stdout


def measure(regraft, data, architecture, file, seed):
    """Returns the run's summary and its seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        words = ["train", data, "--freeze", "backbone", "--seed", seed, "--output", folder / "run"]
        if file is not None:
            weights = folder / "weights.safetensors"
            run(regraft, "weights", "convert", file, weights, folder=folder)
            words += ["--model", architecture, "--weights", weights]
        started = time.perf_counter()
        run(regraft, *words, folder=folder)
        seconds = time.perf_counter() - started
        return json.loads((folder / "run/summary.json").read_text()), seconds


def row(architecture, summary):
    size, parameters = summary["image_size"], summary["total_parameters"] / 1e6
    return [
        f"`{architecture}`",
        str(size),
        f"{parameters:.1f} M",
        f"{summary['head_fit']['out_of_fold']['accuracy']:.4f}",
        f"{summary['test_accuracy']:.4f}",
        f"{summary['test_loss']:.3f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("weights", nargs="*", help="ARCHITECTURE=FILE")
    parser.add_argument("--regraft", type=pathlib.Path, default=REGRAFT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", action="store_true", help="add a column with seconds")
    options = parser.parse_args()
    networks = [("efficientnet_lite0", None), *(word.split("=", 1) for word in options.weights)]
    header = ["backbone", "image", "parameters", "cross-validated accuracy", "test accuracy", "test loss", *(["seconds"] if options.times else [])]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|", flush=True)
    for architecture, file in networks:
        summary, seconds = measure(options.regraft, options.data, architecture, file, options.seed)
        cells = row(architecture, summary) + ([f"{seconds:.0f}"] if options.times else [])
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
