"""Runs the default comparison on a folder and writes the results to docs/results.md and docs/results.svg.

    cargo build --release && python bench/results.py DATA [--seeds 3] [--output runs/results] [-- more options of `regraft compare`]

Runs `regraft compare`, which resumes an interrupted comparison without repeating finished runs. Replaces the text between the two
markers in docs/results.md (which is created if it is missing) by the table, the paired tests and the machine. The text around the
markers is written by hand.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- written by bench/results.py -->", "<!-- end -->"


def with_spread(mean, deviation, decimals=4):
    return f"{mean:.{decimals}f}" + (f" ± {deviation:.{decimals}f}" if deviation is not None else "")


def optional(value, pattern):
    return "–" if value is None else format(value, pattern)


def table(outcome):
    target = outcome["target_accuracy"]
    lines = [
        f"| arm | test accuracy, mean ± deviation | each seed | loss | seconds | images/s | trained parameters | epochs to {target} | seconds to {target} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    arms = sorted(outcome["arms"], key=lambda arm: -(arm["test_accuracy_mean"] or 0))
    for arm in arms:
        failed = [run for run in arm["runs"] if run["error"]]
        if failed:
            lines.append(f"| {arm['name']} | failed: {failed[0]['error']} |" + " |" * 7)
            continue
        each = ", ".join(f"{run['test_accuracy']:.4f}" for run in arm["runs"])
        lines.append(
            f"| {arm['name']} | {with_spread(arm['test_accuracy_mean'], arm['test_accuracy_sd'])} | {each} | {arm['test_loss_mean']:.3f} | "
            f"{arm['wall_seconds']:.0f} | {arm['images_per_second']:.0f} | {arm['trained_parameters']:,} | "
            f"{optional(arm['epochs_to_target'], '.1f')} | {optional(arm['seconds_to_target'], '.0f')} |"
        )
    return lines


def probability(value):
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def tests(outcome):
    lines = ["| better | worse | difference | p | p adjusted | real |", "|---|---|---|---|---|---|"]
    for test in sorted(outcome["paired_tests"], key=lambda test: (not test["real"], -test["difference"])):
        lines.append(
            f"| {test['better']} | {test['worse']} | {test['difference']:.4f} | {probability(test['p_value'])} | "
            f"{probability(test['p_value_adjusted'])} | {'yes' if test['real'] else 'no'} |"
        )
    return lines


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--output", type=pathlib.Path, default=ROOT / "runs/results")
    arguments.add_argument("--regraft", default=ROOT / "target/release/regraft")
    # Arguments after "--" are passed to `regraft compare`.
    own, more = sys.argv[1:], []
    if "--" in own:
        place = own.index("--")
        own, more = own[:place], own[place + 1 :]
    options = arguments.parse_args(own)
    command = [options.regraft, "compare", options.data, "--seeds", options.seeds, "--output", options.output, "--json", *more]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    outcome = json.loads(done.stdout)
    page = ROOT / "docs/results.md"
    text = page.read_text() if page.exists() else f"# Ways to fine-tune, compared\n\n{BEGIN}\n{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} must have the lines {BEGIN!r} and {END!r} once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    seeds = ", ".join(map(str, outcome["seeds"]))
    said = f"{outcome['scored_images']} test images; seeds {seeds}; {outcome['device']}; Regraft {outcome['regraft_version']}."
    parts = [BEGIN, "", *table(outcome), "", said, "", "![The arms' curves and where each ended](results.svg)", "", *tests(outcome), "", END]
    page.write_text(before + "\n".join(parts) + after)
    # Only the folder's name, not its path on this machine.
    picture = (options.output / "compare.svg").read_text().replace(outcome["data"], pathlib.Path(outcome["data"]).name)
    (ROOT / "docs/results.svg").write_text(picture)


if __name__ == "__main__":
    main()
