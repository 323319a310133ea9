"""Compares training recipes on a part of the training images alone; the default recipe was chosen by this.

    python bench/recipes.py DATA/train --seeds 1 2 --epochs 3

DATA/train is a folder of class folders; a fifth of it, drawn for each seed, is held out and scores the recipes. Images outside it
are never read. Prints a line for each run and, at the end, a Markdown table with the mean over the seeds.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import time

# Each candidate states the options that it compares, whatever the recipe's defaults are.
FROZEN, ABOVE, ALL = ["--freeze", "backbone"], ["--freeze", "through=blocks.3"], ["--freeze", "none"]
NEW = ["--head", "new"]
SMALL, LARGE = ["--crop-scale", "0.08,1"], ["--crop-scale", "0.35,1"]
RUNNING, BATCH = ["--batch-norm", "running"], ["--batch-norm", "batch", "--batch-norm-momentum", "0.1"]
FITTED = ["--head", "fit", "--head-lr-mult", "1", *LARGE, *RUNNING]
AVERAGED = [*FITTED, "--ema", "0.99", "--precision", "bf16"]
CANDIDATES = {
    "head, lr 3e-3, crops from 0.08": [*NEW, *FROZEN, "--lr", "3e-3", *SMALL],
    "head, lr 3e-3, crops from 0.35": [*NEW, *FROZEN, "--lr", "3e-3", *LARGE],
    "head, lr 3e-3, no augmentation": [*NEW, *FROZEN, "--lr", "3e-3", "--augment", "none"],
    "above blocks.3, lr 1e-3, crops from 0.08, batch statistics": [*NEW, *ABOVE, "--lr", "1e-3", *SMALL, *BATCH],
    "above blocks.3, lr 1e-3, crops from 0.35, batch statistics": [*NEW, *ABOVE, "--lr", "1e-3", *LARGE, *BATCH],
    "above blocks.3, lr 1e-3, crops from 0.35": [*NEW, *ABOVE, "--lr", "1e-3", *LARGE, *RUNNING],
    "above blocks.3, lr 3e-4, crops from 0.35": [*NEW, *ABOVE, "--lr", "3e-4", *LARGE, *RUNNING],
    "all, lr 1e-3, crops from 0.35": [*NEW, *ALL, "--lr", "1e-3", *LARGE, *RUNNING],
    # From the fitted head, the head learns at the backbone's rate, because it is already near its optimum.
    "fitted head": ["--head", "fit", *FROZEN],
    "fitted head, 256 pixels": ["--head", "fit", *FROZEN, "--image-size", "256"],
    "fitted head, 288 pixels": ["--head", "fit", *FROZEN, "--image-size", "288"],
    "fitted head, images squashed": ["--head", "fit", *FROZEN, "--resize", "squash"],
    "fitted head, three augmented views and the plain one": ["--head", "fit", *FROZEN, "--views", "3", *LARGE],
    "fitted, then above blocks.3, lr 1e-3": [*FITTED, *ABOVE, "--lr", "1e-3"],
    "fitted, then above blocks.3, lr 3e-3": [*FITTED, *ABOVE, "--lr", "3e-3"],
    "fitted, then above blocks.3, lr 3e-4": [*FITTED, *ABOVE, "--lr", "3e-4"],
    "fitted, then above blocks.3, lr 3e-4, bf16": [*FITTED, *ABOVE, "--lr", "3e-4", "--precision", "bf16"],
    "fitted, then above blocks.3, lr 1e-4": [*FITTED, *ABOVE, "--lr", "1e-4"],
    "fitted, then all, lr 3e-4": [*FITTED, *ALL, "--lr", "3e-4"],
    "fitted, then above blocks.3, lr 1e-3, averaged, bf16": [*AVERAGED, *ABOVE, "--lr", "1e-3"],
    "fitted, then above blocks.3, lr 1e-3, averaged, mixup, bf16": [*AVERAGED, *ABOVE, "--lr", "1e-3", "--mixup", "0.4"],
    "fitted, then all, lr 1e-3, averaged, TrivialAugment, bf16": [*AVERAGED, *ALL, "--lr", "1e-3", "--augment", "trivial"],
}


def run(regraft, data, name, options, seed, epochs):
    """Runs one training; returns the held-out accuracy after the best and the last epoch, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [regraft, "train", data, "--val-fraction", "0.2", "--seed", str(seed), "--output", folder, "--json", *options]
        # A fitted head on a frozen backbone needs no epochs.
        if epochs and not ("fit" in options and "backbone" in options):
            command += ["--epochs", str(epochs)]
        start = time.perf_counter()
        summary = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
        rows = (pathlib.Path(folder) / "metrics.csv").read_text().splitlines()
        last = dict(zip(rows[0].split(","), rows[-1].split(",")))
    return {
        "recipe": name,
        "seed": seed,
        "best": summary["val_accuracy"],
        "last": float(last["validation_accuracy"]),
        "last_loss": float(last["validation_loss"]),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("data")
    arguments.add_argument("--regraft", default="target/release/regraft")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments.add_argument("--epochs", type=int)
    arguments.add_argument("--only", nargs="+", choices=CANDIDATES)
    options = arguments.parse_args()
    results = {}
    for name in options.only or CANDIDATES:
        for seed in options.seeds:
            result = run(options.regraft, options.data, name, CANDIDATES[name], seed, options.epochs)
            print(json.dumps(result), flush=True)
            results.setdefault(name, []).append(result)
    print("\n| recipe | held-out accuracy, best epoch | last epoch | loss, last epoch | seconds |\n|---|---|---|---|---|")
    for name, runs in results.items():
        mean = lambda key: sum(run[key] for run in runs) / len(runs)
        print(f"| {name} | {mean('best'):.4f} | {mean('last'):.4f} | {mean('last_loss'):.4f} | {mean('seconds'):.0f} |")


if __name__ == "__main__":
    main()
