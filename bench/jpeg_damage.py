"""Counts how many of the damaged JPEGs that libjpeg warns about Regraft refuses, as a Markdown table.

    apt-get install libjpeg-turbo-progs; cargo build --release
    python bench/jpeg_damage.py FOLDER [--files 120] [--seed 1]

FOLDER holds intact JPEGs. The script makes damaged copies of some of them: as they are, progressive, and with restart markers.
It compares the copies that `djpeg` warns about with those that `regraft audit` names. It also audits the intact files, of which
none may be named, and copies with bytes before a marker, which do no harm.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import tempfile

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"
PART = 512


def scan_start(content):
    place = 2
    while True:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        place += 2 + length
        if marker == 0xDA:
            return place


def part(content, draws):
    start = scan_start(content)
    return draws.randrange(start, max(start + 1, len(content) - PART - 2))


def cut(content, draws):
    return content[: draws.randrange(scan_start(content), len(content) - 2)] + b"\xff\xd9"


def zeroed(content, draws):
    first = part(content, draws)
    return content[:first] + bytes(PART) + content[first + PART :]


def removed(content, draws):
    first = part(content, draws)
    return content[:first] + content[first + PART :]


def replaced(content, draws):
    first, other = part(content, draws) // PART * PART, part(content, draws)
    return content[:first] + content[other : other + PART] + content[first + PART :]


def noise(content, draws):
    first = part(content, draws)
    return content[:first] + draws.randbytes(PART) + content[first + PART :]


def flipped(content, draws, bits=1):
    content, start = bytearray(content), scan_start(content)
    for _ in range(bits):
        content[draws.randrange(start, len(content) - 2)] ^= 1 << draws.randrange(8)
    return bytes(content)


def flipped_often(content, draws):
    return flipped(content, draws, 10)


DAMAGES = {
    "truncated, end marker added": cut,
    "512 bytes zeroed": zeroed,
    "512 bytes removed": removed,
    "a sector replaced by another of the file": replaced,
    "512 bytes of noise": noise,
    "one bit flipped": flipped,
    "ten bits flipped": flipped_often,
}


def extra(content, draws):
    """Inserts up to 12 bytes before a marker of the header, or before the end."""
    places, place = [len(content) - 2], 2
    while content[place + 1] != 0xDA:
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        places.append(place)
    place = draws.choice(places)
    return content[:place] + bytes(draws.randrange(255) for _ in range(draws.randrange(1, 13))) + content[place:]


def named(folder):
    """Returns the files that the audit cannot read."""
    done = subprocess.run([REGRAFT, "audit", folder, "--files-only", "--json"], capture_output=True, text=True, check=True)
    return {pathlib.Path(entry["path"]).name for entry in json.loads(done.stdout)["unreadable"]}


def warned(path):
    done = subprocess.run(["djpeg", "-outfile", "/dev/null", path], capture_output=True, text=True)
    return done.returncode != 0 or bool(done.stderr.strip())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--files", type=int, default=120)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    draws = random.Random(arguments.seed)
    intact = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # The audit needs two classes.
        [(folder / kind / half).mkdir(parents=True) for kind in ("damaged", "extra", "intact") for half in "ab"]
        names = {}
        for number, path in enumerate(draws.sample(intact, min(arguments.files, len(intact)))):
            half = "ab"[number % 2]
            forms = [path.read_bytes()]
            for option in (["-progressive"], ["-restart", "1"]):
                forms.append(subprocess.run(["jpegtran", *option, path], capture_output=True, check=True).stdout)
            for form, content in zip(("plain", "progressive", "restarts"), forms):
                for kind, damage in DAMAGES.items():
                    name = f"{number}-{form}-{len(names)}.jpg"
                    names[name] = (kind, form, half)
                    (folder / "damaged" / half / name).write_bytes(damage(content, draws))
                for copy in range(3):
                    (folder / "extra" / half / f"{number}-{form}-{copy}.jpg").write_bytes(extra(content, draws))
        for number, path in enumerate(intact):
            (folder / "intact" / "ab"[number % 2] / f"{number}.jpg").write_bytes(path.read_bytes())
        found = named(folder / "damaged")
        counts = collections.defaultdict(collections.Counter)
        for name, (kind, form, half) in names.items():
            warns = warned(folder / "damaged" / half / name)
            for row in (kind, {"plain": "one scan", "progressive": "progressive", "restarts": "with restart markers"}[form], "all"):
                counts[row].update(files=1, warned=warns, both=warns and name in found, ours=name in found)
        print("| damage | files | libjpeg warns about | of these refused | refused in total |")
        print("|---|---|---|---|---|")
        for row in [*DAMAGES, "one scan", "progressive", "with restart markers", "all"]:
            count = counts[row]
            print(f"| {row} | {count['files']} | {count['warned']} | {count['both']} ({count['both'] / max(1, count['warned']):.1%}) | {count['ours']} |")
        extras = sum(1 for _ in (folder / "extra").rglob("*.jpg"))
        print(f"\nIntact files: {len(named(folder / 'intact'))} of {len(intact)} named.")
        print(f"Bytes before a marker: {len(named(folder / 'extra'))} of {extras} named.")


if __name__ == "__main__":
    main()
