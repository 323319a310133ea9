"""Times the path from files to batches, in Regraft's loader and PyTorch's DataLoader with torchvision (Pillow) in turn, as a
Markdown table.

    cargo build --release && python bench/load.py FOLDER/train [FOLDER/train ...] [--workers 2] [--batch 128] [--rounds 3]

Both do the same to an image: RandomResizedCrop(224), RandomHorizontalFlip, normalisation. Nothing is kept in memory, except in the
last column. Each measurement is a process of its own with two epochs, of which the faster counts; the fastest round counts too.
`python bench/large_photos.py` makes photographs of 12 megapixels.
"""

import argparse
import json
import pathlib
import subprocess
import sys

REGRAFT = pathlib.Path(__file__).resolve().parent.parent / "target/release/regraft"

TORCH = """
import json, sys, time
import torch, torchvision
import torchvision.transforms as T
folder, workers, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
transform = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
data = torchvision.datasets.ImageFolder(folder, transform)
speeds = []
for epoch in range(2):
    started, count = time.perf_counter(), 0
    for images, _ in torch.utils.data.DataLoader(data, batch, shuffle=True, num_workers=workers):
        count += len(images)
    speeds.append(count / (time.perf_counter() - started))
print(json.dumps(max(speeds)))
"""


def regraft(folder, arguments, *more):
    command = [REGRAFT, "bench", "load", folder, "--workers", arguments.workers, "--batch", arguments.batch, "--json", *more]
    return json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout)


def torch(folder, arguments):
    command = [sys.executable, "-c", TORCH, folder, arguments.workers, arguments.batch]
    return json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="+")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments = arguments.parse_args()
    print("| images | PyTorch, images/s | Regraft, images/s | ratio | large JPEGs decoded at full size | from memory |")
    print("|---|---|---|---|---|---|")
    for folder in arguments.folders:
        ours, whole, theirs = [], [], []
        for _ in range(arguments.rounds):
            ours.append(regraft(folder, arguments)["images_per_second"])
            theirs.append(torch(folder, arguments))
            whole.append(regraft(folder, arguments, "--full-decode")["images_per_second"])
        cached = regraft(folder, arguments, "--cache-images", "4G")["cached_images_per_second"]
        cached = "does not fit" if cached is None else f"{cached:.0f}"
        ours, whole, theirs = max(ours), max(whole), max(theirs)
        print(f"| {folder} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} | {whole:.1f} | {cached} |", flush=True)


if __name__ == "__main__":
    main()
