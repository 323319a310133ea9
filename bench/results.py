"""Runs the default comparison on a folder and writes the results to docs/results.md and docs/results.svg.

    cargo build --release && python bench/results.py DATA [--seeds 3] [--output runs/results] [-- more options of `regraft compare`]

Runs `regraft compare --markdown`, which does not repeat runs that are finished, and puts its output between the two markers of docs/results.md,
which is created if it is missing. The text around the markers is written by hand.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- written by bench/results.py -->", "<!-- end -->"


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
    command = [options.regraft, "compare", options.data, "--seeds", options.seeds, "--output", options.output, "--markdown", *more]
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    # The folder's name, wherever it lies on this machine; the page has a title of its own.
    outcome = json.loads((options.output / "compare.json").read_text())
    data, name = outcome["data"], pathlib.Path(outcome["data"]).name
    table = done.stdout.split("\n", 2)[2].replace("<compare.svg>", "results.svg").replace(data, name)
    page = ROOT / "docs/results.md"
    text = page.read_text() if page.exists() else f"# Ways to fine-tune, compared\n\n{BEGIN}\n{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} must have the lines {BEGIN!r} and {END!r} once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + f"{BEGIN}\n\n{table.strip()}\n\n{END}" + after)
    picture = (options.output / "compare.svg").read_text().replace(data, name)
    (ROOT / "docs/results.svg").write_text(picture)


if __name__ == "__main__":
    main()
