"""Measures how well `regraft audit` finds planted leaks: recall and false alarms.

    python bench/leak.py DATA [--seeds 5] [--copies 20] [--regraft PATH]

DATA has train/<class> and test/<class>. For each seed the script makes a copy of DATA (of links) in a temporary folder, and adds
copies of test images to its training set: each mirrored or not, cropped by up to a tenth at each edge, resized to 40 to 160 %, and
saved as a JPEG of quality 40 to 95, a PNG or a WebP. Then it runs `regraft audit`. A copy is found if it is in `leakage` with its
original; any other entry is a false alarm unless the audit of DATA itself has it too. Needs Pillow.
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps


def link(data: Path, target: Path) -> None:
    for path in data.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())


def altered(picture: Image.Image, draw: random.Random) -> tuple[Image.Image, dict]:
    margins = [draw.uniform(0, 0.1) if draw.random() < 0.7 else 0.0 for _ in range(4)]
    mirror, scale = draw.random() < 0.5, draw.uniform(0.4, 1.6)
    width, height = picture.size
    left, right, top, bottom = margins
    box = (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    picture = picture.crop(box)
    if mirror:
        picture = ImageOps.mirror(picture)
    size = [max(16, round(side * scale)) for side in picture.size]
    return picture.resize(size, draw.choice([Image.BILINEAR, Image.BICUBIC, Image.LANCZOS])), {
        "margins": [round(margin, 3) for margin in margins], "mirror": mirror, "scale": round(scale, 2),
    }


def leak(data: Path, target: Path, count: int, seed: int) -> dict[str, tuple[str, dict]]:
    """Adds altered test images to the training set; returns each copy's original and the changes."""
    draw = random.Random(seed)
    tests = sorted(path for path in (data / "test").rglob("*") if path.is_file())
    made = {}
    for number, path in enumerate(draw.sample(tests, count)):
        picture, done = altered(ImageOps.exif_transpose(Image.open(path)).convert("RGB"), draw)
        kind = draw.choice(["jpg", "jpg", "jpg", "png", "webp"])
        place = target / "train" / path.parent.name / f"leaked_{number}.{kind}"
        options = {} if kind == "png" else {"quality": draw.randint(40, 95)}
        picture.save(place, **options)
        original = target / path.relative_to(data)
        made[str(place)] = (str(original), done | {"kind": kind} | options)
    return made


def audit(program: str, folder: Path) -> tuple[dict, float]:
    started = time.monotonic()
    run = subprocess.run([program, "audit", str(folder), "--json", "--files-only"], check=True, capture_output=True, text=True)
    return json.loads(run.stdout), time.monotonic() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--copies", type=int, default=20)
    arguments.add_argument("--regraft", default="target/release/regraft")
    given = arguments.parse_args()
    clean, seconds = audit(given.regraft, given.data)
    relative = lambda folder, path: str(Path(path).relative_to(folder))
    known = {tuple(relative(given.data, path) for path in group["paths"]) for group in clean["duplicates"]}
    print(f"clean: {len(clean['duplicates'])} groups of duplicates, {len(clean['leakage'])} leaks, {seconds:.1f} s")
    found, alarms, total = 0, 0, 0
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            link(given.data, folder)
            made = leak(given.data, folder, given.copies, seed)
            report, seconds = audit(given.regraft, folder)
            leaked = {(entry["train"], entry["eval"]) for entry in report["leakage"]}
            missed = {copy: entry for copy, entry in made.items() if (copy, entry[0]) not in leaked}
            other = []
            for group in report["duplicates"]:
                rest = [path for path in group["paths"] if path not in made]
                expected = {made[path][0] for path in group["paths"] if path in made}
                is_known = tuple(relative(folder, path) for path in rest) in known
                if not is_known and set(rest) != expected:
                    other.append(group["paths"])
            found, alarms, total = found + len(made) - len(missed), alarms + len(other), total + len(made)
            print(f"seed {seed}: {len(made) - len(missed)} of {len(made)} found, {len(other)} false alarms, {seconds:.1f} s")
            for copy, (original, done) in missed.items():
                print(f"  missed {relative(folder, copy)} of {relative(folder, original)}: {done}")
            for paths in other:
                print("  false alarm", *(relative(folder, path) for path in paths))
    print(f"in all: {found} of {total} found ({found / total:.1%}), {alarms} false alarms")


if __name__ == "__main__":
    main()
