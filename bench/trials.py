"""Reports the decisions of the trial of `--freeze auto` on data sets, as a Markdown table. Nothing is trained further.

    cargo build --release && python bench/trials.py FOLDER... --seeds 0 1 2 [--precision bf16]

Each FOLDER holds class folders; if it has train and test, only `train` is read.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"
# Start and end of a note that names the decision.
SAYS = ["training all layers on ", "cross-validation leaves too few errors", "a trial of training all layers diverged"]


def decision(regraft, folder, seed, precision, output):
    """Returns the decision's note, and the seconds until it was made."""
    command = [regraft, "train", folder, "--seed", str(seed), "--precision", precision, "--output", output, "--force"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            if any(words in line for words in SAYS):
                process.kill()
                return line.strip().removeprefix("note: "), time.perf_counter() - started
    raise SystemExit(f"{folder}: the run made no decision")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--regraft", default=REGRAFT)
    options = parser.parse_args()
    print("| set | seed | decision | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as output:
        for folder in options.folders:
            root = folder / "train" if (folder / "train").is_dir() else folder
            for seed in options.seeds:
                note, seconds = decision(options.regraft, root, seed, options.precision, output)
                print(f"| {folder.name} | {seed} | {note} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
