"""Prints the SHA-256 of the tensors of fixed runs on `sample/fashion`, to show that a change of the code changes no bit.

    cargo build --release
    python bench/hashes.py > before.txt           # about three minutes on two cores
    ... change the code, build again ...
    python bench/hashes.py --check before.txt     # exits with 1 and names the runs that differ

All runs use `REGRAFT_ISA=avx2`, which every x86-64 server and almost every desktop has, and a feature cache of their own.
Only the tensors are hashed, because the file's metadata holds the version and the metrics.
"""
import argparse
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = "--epochs 1 --image-size 64"
RUNS = [
    "",
    f"--recipe d2l {SMALL}",
    f"--freeze none {SMALL}",
    "--head reuse --epochs 2",
    f"--model resnet18 --weights none {SMALL}",
    f"--ema 0.99 --mixup 0.2 --cutmix 1 --accumulate 2 --clip-gradient 1 {SMALL}",
    # From a fitted head, the best epoch may be epoch 0; with a new head, the kept epoch has trained.
    f"--freeze none --head new {SMALL}",
    f"--freeze none --head new --ema 0.99 --mixup 0.2 --cutmix 1 --accumulate 2 --clip-gradient 1 {SMALL}",
    f"--freeze through=blocks.3 --head new --batch-norm batch --layer-decay 0.75 --no-decay-bias-norm {SMALL}",
    f"--model resnet50 --weights none --optimizer adamw --label-smoothing 0.1 --balance weights {SMALL}",
]


def tensors_hash(path):
    """Hashes names, types, shapes and values; safetensors is a length, a JSON header, and the values."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    described = json.dumps(header, sort_keys=True).encode()
    return hashlib.sha256(described + content[8 + length :]).hexdigest()


def run(binary, flags, folder, cache):
    command = [binary, "train", "sample/fashion", "--output", str(folder), *flags.split()]
    environment = {**os.environ, "REGRAFT_ISA": "avx2", "REGRAFT_CACHE": str(cache)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return tensors_hash(folder / "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/regraft"), help="the program to run")
    parser.add_argument("--check", type=pathlib.Path, help="a file that an earlier run of this script printed")
    parser.add_argument("--only", nargs="*", default=[], help="only runs whose flags have all these words")
    options = parser.parse_args()
    earlier = {}
    if options.check:
        for line in options.check.read_text().splitlines():
            digest, _, flags = line.partition(" ")
            earlier[flags] = digest
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for number, flags in enumerate(f"{flags} --precision {precision}".strip() for precision in ("f32", "bf16") for flags in RUNS):
            if not all(word in flags for word in options.only):
                continue
            digest = run(options.binary, flags, scratch / str(number), scratch / "cache")
            differs = options.check and earlier.get(flags) != digest
            differing += bool(differs)
            print(digest, flags + (" (differs)" if differs else ""), flush=True)
    if differing:
        sys.exit(f"{differing} runs differ from {options.check}")


if __name__ == "__main__":
    main()
