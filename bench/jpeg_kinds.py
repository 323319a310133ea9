"""Every kind of JPEG that `cjpeg` and `jpegtran` write, decoded by Regraft and by Pillow, as a Markdown table.

    pip install pillow numpy; apt-get install libjpeg-turbo-progs
    python bench/jpeg_kinds.py

The kinds are those of fixtures/jpeg.py: sampling factors, scan scripts, restart intervals, markers and colour spaces at several sizes. A file counts as
equal if all its pixels are.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "fixtures"))

import jpeg  # noqa: E402
import pillow_reference  # noqa: E402

SCANS = {"one": "one scan", "apart": "a scan a component", "backwards": "the same, backwards", "pairs": "two scans", "progressive": "progressive", "bands": "progressive, no refinement", "bits": "progressive, own script"}


def main():
    with tempfile.TemporaryDirectory() as folder:
        files, reference = pathlib.Path(folder) / "files", pathlib.Path(folder) / "reference"
        files.mkdir()
        for size in jpeg.SIZES:
            for name, content in jpeg.everything(size):
                (files / f"{name}.jpg").write_bytes(content)
        pillow_reference.main(files, reference)
        command = ["cargo", "test", "--release", "-p", "regraft-data", "--test", "reference", "--", "--ignored", "--nocapture"]
        output = subprocess.run(command, cwd=ROOT, env=os.environ | {"REGRAFT_REFERENCE": str(reference)}, capture_output=True, text=True).stdout
        names = sorted(path.name for path in files.iterdir())
    found = {}
    for name in names:
        equal = f"{name}: differs by 0 levels" in output
        differs = re.search(rf"^{re.escape(name)}: (?:differs|is)", output, re.MULTILINE) and not equal
        found[name] = "equal" if equal else "differs" if differs else "refused"
    rows = collections.defaultdict(collections.Counter)
    for name, outcome in found.items():
        _, colours, sampling, scans, _ = name.removesuffix(".jpg").rsplit("-", 4)
        row = ("YCbCr, sampling " + sampling.replace(",", " "), SCANS[scans]) if colours == "ycc" else (f"`{colours}`", SCANS[scans])
        rows[row[0]][outcome] += 1
        rows[row[1]][outcome] += 1
    print("| kind | files | equal to Pillow | not equal | refused |")
    print("|---|---|---|---|---|")
    total = collections.Counter(found.values())
    for kind, counts in [*rows.items(), ("all", total)]:
        print(f"| {kind} | {counts.total()} | {counts['equal']} | {counts['differs']} | {counts['refused']} |")


if __name__ == "__main__":
    main()
