"""Measures how much faster a frozen backbone trains if its features are kept: `regraft train` with and without `--no-feature-cache`.

    cargo build --release && python bench/features.py DATA [--epochs 10] [--views 1 2]

DATA has `train` and `test`. Each run is the textbook's with a frozen backbone, scores the test images after each epoch, and begins
with an empty cache. The models must be equal to the byte. Prints a Markdown table.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"


def run(options, views, more):
    """Returns the seconds of a run from a cold start, and its model's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "run"
        command = [options.regraft, "train", options.data, "--recipe", "d2l", "--freeze", "backbone"]
        command += ["--epochs", options.epochs, "--views", views, "--output", output, *more]
        environment = {**os.environ, "REGRAFT_CACHE": str(pathlib.Path(folder) / "cache")}
        started = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - started, (output / "model.safetensors").read_bytes()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--views", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--regraft", default=REGRAFT)
    options = arguments.parse_args()
    print("| views | without kept features, s | with them, s | times faster |\n|---|---|---|---|", flush=True)
    for views in options.views:
        uncached, first = run(options, views, ["--no-feature-cache"])
        cached, second = run(options, views, [])
        if first != second:
            raise SystemExit(f"with {views} views the models differ")
        print(f"| {views} | {uncached:.1f} | {cached:.1f} | {uncached / cached:.1f} |", flush=True)


if __name__ == "__main__":
    main()
