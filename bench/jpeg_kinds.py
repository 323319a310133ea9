"""Compares Regraft's and Pillow's decoding of every kind of JPEG that `cjpeg` and `jpegtran` write, as a Markdown table.

    pip install pillow numpy; apt-get install libjpeg-turbo-progs
    python bench/jpeg_kinds.py

The kinds are those of fixtures/jpeg.py: sampling factors, scan scripts, restart intervals, markers and colour spaces at several
sizes. A file counts as equal if all its pixels are.
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

COLOURS = {
    "ycc": f"YCbCr, {len(jpeg.SAMPLINGS)} combinations of sampling factors",
    "grey": "grey",
    "rgb": "RGB by Adobe's marker",
    "bare": "YCbCr without markers",
    "names_rgb": "components named R, G and B, no markers",
    "names_other": "components named otherwise, no markers",
    "jfif_names_rgb": "components named R, G and B, JFIF marker",
    "jfif_adobe0": "JFIF and Adobe's marker, transform 0",
    "adobe0": "Adobe's marker, transform 0",
    "adobe1": "Adobe's marker, transform 1",
    "adobe2": "Adobe's marker, transform 2",
    "cmyk_adobe": "CMYK with Adobe's marker",
    "cmyk_bare": "CMYK without markers",
    "ycck": "YCCK",
    "no_tables": "no Huffman tables",
    "coarse": "quality 2 (16-bit quantisation tables)",
    "fine": "quality 100",
    "arithmetic": "arithmetic coding",
}
SCANS = {
    "one": "one scan",
    "apart": "a scan for each component",
    "backwards": "the same in reverse order",
    "pairs": "two components in a scan",
    "progressive": "progressive, `jpegtran`'s script",
    "bands": "progressive without successive approximation",
    "bits": "progressive with two bits of it",
}
RESTARTS = {"none": "no restart markers", "rows": "restart markers after each row", "blocks": "restart markers after three blocks"}


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
        names = sorted(path.stem for path in files.iterdir())
    rows = collections.defaultdict(collections.Counter)
    for name in names:
        said = re.search(rf"^{re.escape(name)}\.jpg: (.*)$", output, re.MULTILINE)[1]
        outcome = "equal" if said.startswith("differs by 0 levels") else "refused" if "not supported" in said else "differs"
        _, colours, _, scans, restarts = name.split("-")
        for row in (COLOURS[colours], SCANS[scans], RESTARTS[restarts], "all"):
            rows[row][outcome] += 1
    print("| kind | files | equal to Pillow | not equal | refused by name |")
    print("|---|---|---|---|---|")
    for kind in [*COLOURS.values(), *SCANS.values(), *RESTARTS.values(), "all"]:
        counts = rows[kind]
        print(f"| {kind} | {counts.total()} | {counts['equal']} | {counts['differs']} | {counts['refused']} |")


if __name__ == "__main__":
    main()
