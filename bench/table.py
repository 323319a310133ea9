"""Runs both recipes on a folder with train and test: the table in the README.

    python bench/table.py DATA --runs d2l:0 default:0 default:1 default:2

A run is RECIPE:SEED. Each run scores the test images once, at its end (the textbook's recipe also after each epoch), and they
choose nothing. Prints a line for each run and, at the end, a Markdown table with means over the seeds.
"""
import argparse
import json
import os
import subprocess
import tempfile


def run(regraft, data, recipe, seed):
    with tempfile.TemporaryDirectory() as folder:
        command = [regraft, "train", data, "--recipe", recipe, "--seed", str(seed), "--output", f"{folder}/run", "--json"]
        # Features that an earlier run has kept would make this run look faster than it is.
        environment = {**os.environ, "REGRAFT_CACHE": f"{folder}/cache"}
        return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    arguments.add_argument("--regraft", default="target/release/regraft")
    arguments.add_argument("--runs", nargs="+", default=["d2l:0", "default:0", "default:1", "default:2"])
    options = arguments.parse_args()
    results = {}
    for name in options.runs:
        recipe, seed = name.split(":")
        summary = run(options.regraft, options.data, recipe, int(seed))
        keys = ("train_loss", "train_accuracy", "val_accuracy", "test_accuracy", "best_epoch", "images_per_second", "wall_seconds")
        print(json.dumps({"recipe": recipe, "seed": int(seed), **{key: summary[key] for key in keys}, "device": summary["device"]}), flush=True)
        results.setdefault(recipe, []).append(summary)
    print("\n| recipe | seeds | loss | train accuracy | test accuracy | images/s | seconds in all |\n|---|---|---|---|---|---|---|")
    for recipe, summaries in results.items():
        mean = lambda key: sum(summary[key] for summary in summaries) / len(summaries)
        print(
            f"| {recipe} | {len(summaries)} | {mean('train_loss'):.3f} | {mean('train_accuracy'):.3f} | {mean('test_accuracy'):.3f} | "
            f"{mean('images_per_second'):.0f} | {mean('wall_seconds'):.0f} |"
        )


if __name__ == "__main__":
    main()
