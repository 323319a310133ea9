"""Trains the default and its alternatives on several data sets: does training the backbone ever lose accuracy that the fitted head had?

    python bench/suite.py FOLDER... --seeds 0 1 2 --epochs 3

Each FOLDER holds class folders; if it has train and test, only `train` is read. `bench/made_sets.py` draws some. For each seed the
images are divided again, class by class: 15 % choose the epoch, 20 % are scored at the end, and the rest trains. Prints a line for
each run, and at the end a Markdown table with means over the seeds. Runs that exist in --output are not repeated. The arms of
PyTorch need the packages that `bench/usual.py` lists, and run only if --arms names them.

`worst epoch` is the lowest held-out accuracy after any epoch, minus the fitted head's. `p` is McNemar's exact test of the kept
epoch against the fitted head on all seeds' scored images.
"""
import argparse
import csv
import itertools
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ARMS = {
    "fitted head": ["--freeze", "backbone"],
    "default": [],
    "all layers": ["--freeze", "none"],
    "above blocks.3": ["--freeze", "through=blocks.3"],
    "all layers, new head at 1e-3 x 10": ["--freeze", "none", "--head", "new", "--lr", "1e-3"],
}
# PyTorch's usual recipe, by bench/usual.py: optimiser and rate.
PYTORCH = {
    f"PyTorch, {optimizer} {rate}": ["--optimizer", optimizer, "--rate", rate]
    for optimizer, rate in [("sgd", "1e-3"), ("sgd", "1e-2"), ("adamw", "1e-4"), ("adamw", "1e-3")]
}


def divide(folder, seed, table):
    """Writes a table of the images with the splits of this seed."""
    root = folder / "train" if (folder / "train").is_dir() else folder
    draws = random.Random(seed)
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for label in sorted(entry.name for entry in root.iterdir() if entry.is_dir()):
            images = sorted(path for path in (root / label).iterdir() if path.is_file())
            draws.shuffle(images)
            held_out, scored = max(1, round(len(images) * 0.15)), max(1, round(len(images) * 0.2))
            for place, path in enumerate(images):
                split = "val" if place < held_out else "test" if place < held_out + scored else "train"
                writer.writerow([path.resolve(), label, split])


def train(regraft, table, run, options, seed):
    """Returns the rows of metrics.csv, the summary of a run, and its seconds; from its folder if it exists."""
    took = run / "seconds.txt"
    if not took.exists():
        command = [regraft, "train", table, "--seed", str(seed), "--output", run, "--force", *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took.write_text(str(time.perf_counter() - started))
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((run / "summary.json").read_text()), float(took.read_text())


def pytorch(table, run, options, seed, epochs):
    """Returns the output of bench/usual.py; from the run's folder if it exists."""
    result = run / "result.json"
    if not result.exists():
        run.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, pathlib.Path(__file__).with_name("usual.py"), table, *options, "--seed", str(seed), "--epochs", str(epochs)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        result.write_bytes(done.stdout)
    return json.loads(result.read_text())


def right(run):
    """Returns which of the scored images a run's model gets right, by path."""
    with open(run / "predictions.csv", newline="") as file:
        return {row["path"]: row["predicted"] == row["class"] for row in csv.DictReader(file)}


def sign_test(pairs):
    """The two-sided probability of such a difference by chance, from pairs of (before, after): McNemar's exact test."""
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    total = gained + lost
    tail = sum(math.comb(total, place) for place in range(min(gained, lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *PYTORCH], default=list(ARMS))
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--regraft", default="target/release/regraft")
    parser.add_argument("--output", type=pathlib.Path, help="keep the runs here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output = arguments.output or pathlib.Path(temporary)
        table = ["| set | arm | held out, fitted head | after each epoch | worst epoch | scored | p | seconds |", "|---|---|---|---|---|---|---|---|"]
        for folder in arguments.folders:
            for arm in arguments.arms:
                curves, scored, seconds, worst, pairs = [], [], [], [], []
                for seed in arguments.seeds:
                    runs = output / folder.name / f"seed-{seed}"
                    runs.mkdir(parents=True, exist_ok=True)
                    divide(folder, seed, runs / "images.csv")
                    run = runs / arm.replace(" ", "-")
                    if arm in PYTORCH:
                        found = pytorch(runs / "images.csv", run, PYTORCH[arm], seed, arguments.epochs)
                        curves.append(found["validation_accuracies"])
                        scored.append(found["test_accuracy"])
                        seconds.append(found["seconds"])
                        print(f"{folder.name}, {arm}, seed {seed}: {curves[-1]} scored {scored[-1]:.4f} in {seconds[-1]:.0f} s", flush=True)
                        continue
                    options = ["--precision", arguments.precision, *ARMS[arm]]
                    if "none" in ARMS[arm] or "through=blocks.3" in ARMS[arm]:
                        options += ["--epochs", str(arguments.epochs)]
                    rows, summary, took = train(arguments.regraft, runs / "images.csv", run, options, seed)
                    curve = [float(row["validation_accuracy"]) for row in rows]
                    curves.append(curve)
                    worst.append(min(curve[1:], default=curve[0]) - curve[0])
                    fitted_run = runs / "fitted-head"
                    if fitted_run.exists() and fitted_run != run:
                        before, after = right(fitted_run), right(run)
                        pairs += [(before[path], after[path]) for path in before]
                    scored.append(summary["test_accuracy"])
                    seconds.append(took)
                    print(f"{folder.name}, {arm}, seed {seed}: {curve} scored {summary['test_accuracy']:.4f} in {took:.0f} s", flush=True)
                mean = lambda values: sum(values) / len(values)
                # The default may train on one division of the images and not on another.
                epochs = [f"{mean([value for value in values if value is not None]):.3f}" for values in itertools.zip_longest(*curves)]
                fitted = arm in ARMS and "--head" not in ARMS[arm]
                start, later = (epochs[0], epochs[1:]) if fitted else ("", epochs)
                change = f"{mean(worst):+.3f}" if fitted and later else ""
                chance = f"{sign_test(pairs):.3f}" if pairs else ""
                table.append(
                    f"| {folder.name} | {arm} | {start} | {' '.join(later)} | {change} "
                    f"| {mean(scored):.3f} | {chance} | {mean(seconds):.0f} |"
                )
        print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
