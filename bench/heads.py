"""Times the fitted head on generated features, by classes and images of each: wall clock, processor time and peak memory.

    cargo build --release -p regraft --example heads
    python bench/heads.py                          # a table for docs/performance.md
    python bench/heads.py --before OLD/heads       # compared with another build of the same example

If nothing else runs, the wall-clock time is the processor time divided by the number of cores.
"""

import argparse
import os
import pathlib
import re
import subprocess
import time

HEADS = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples/heads"
SIZES = [(20, 4), (100, 4), (200, 4), (100, 10), (200, 10), (1000, 10)]
LINE = re.compile(r"strength ([\d.]+), (\d+) \+ (\d+) evaluations.*peak memory (\d+) MiB")


def measure(binary, classes, images):
    before, began = os.times(), time.monotonic()
    done = subprocess.run([binary, str(classes), str(images)], capture_output=True, text=True, check=True)
    after, seconds = os.times(), time.monotonic() - began
    strength, choice, solution, memory = LINE.search(done.stdout).groups()
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return strength, int(choice) + int(solution), seconds, processor, int(memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=pathlib.Path, help="another build of the example")
    parser.add_argument("--sizes", nargs="*", help="CLASSESxIMAGES, such as 1000x10")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes] if options.sizes else SIZES
    binaries = ([options.before] if options.before else []) + [HEADS]
    names = ["evaluations", "wall clock, s", "processor, s", "peak MiB"]
    columns = [f"{name}, {when}" if options.before else name for when in ["before", "after"][-len(binaries) :] for name in names]
    print("| classes x images | strength | " + " | ".join(columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for classes, images in sizes:
        rows = [measure(binary, classes, images) for binary in binaries]
        strengths = " and ".join(dict.fromkeys(f"{float(row[0]):g}" for row in rows))
        cells = [cell for row in rows for cell in (str(row[1]), f"{row[2]:.1f}", f"{row[3]:.1f}", str(row[4]))]
        print(f"| {classes} x {images} | {strengths} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
