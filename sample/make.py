"""Makes `sample/fashion` from the files of Fashion-MNIST.

    python3 sample/make.py [SOURCE]             writes the images, then checks them
    python3 sample/make.py [SOURCE] --check     only checks the existing images

SOURCE is a folder with the four original `*-ubyte.gz` files; by default the folder of Debian's package
`dataset-fashion-mnist`. Needs Python 3.9 or newer and Pillow.

The images are the first of each class in the order of the original files, training images from the training file
and test images from the test file. An image is named after its position in that file, counted from 0.
"""

import argparse
import gzip
import hashlib
import shutil
import struct
import sys
from pathlib import Path

from PIL import Image

# Label k of the data set is CLASSES[k].
CLASSES = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
]

# Our split: its name in the original files, and the number of images of each class.
SPLITS = {"train": ("train", 60), "test": ("t10k", 30)}

# Of the unpacked content: Debian repacks the same files, so the packed bytes differ from the publisher's.
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}


def read_idx(path, dimensions):
    """Reads a gzipped IDX file of unsigned bytes: returns its shape and its bytes in row-major order."""
    content = gzip.decompress(path.read_bytes())
    if hashlib.sha256(content).hexdigest() != SHA256[path.name]:
        raise SystemExit(f"{path} is not the file this sample was made from: its unpacked SHA-256 differs")
    zero, element_type, rank, *shape = struct.unpack(f">HBB{dimensions}I", content[: 4 + 4 * dimensions])
    if (zero, element_type, rank) != (0, 8, dimensions):
        raise SystemExit(f"{path} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    return shape, content[4 + 4 * dimensions :]


def pick(source):
    """Yields (relative path, (width, height), grey bytes) of each image of the sample."""
    seen = set()
    for split, (prefix, per_class) in SPLITS.items():
        (count, height, width), pixels = read_idx(source / f"{prefix}-images-idx3-ubyte.gz", 3)
        _, labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz", 1)
        taken = [0] * len(CLASSES)
        for index in range(count):
            label = labels[index]
            picture = pixels[index * height * width : (index + 1) * height * width]
            # An image that is already in the sample would be counted twice, or be tested after it was learned.
            if taken[label] == per_class or picture in seen:
                continue
            seen.add(picture)
            taken[label] += 1
            yield Path(split, CLASSES[label], f"{index:05}.png"), (width, height), picture


def check(target, pictures):
    """Opens every file under `target`, and exits with a message unless the files are exactly `pictures`."""
    present = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    wanted = {path for path, _, _ in pictures}
    problems = [f"{target / path}: missing" for path in sorted(wanted - present)]
    problems += [f"{target / path}: not part of the sample" for path in sorted(present - wanted)]
    for path, size, picture in pictures:
        if path not in present:
            continue
        try:
            with Image.open(target / path) as image:
                image.load()
                if (image.format, image.mode, image.size) != ("PNG", "L", size):
                    problems.append(f"{target / path}: {image.format} {image.mode} {image.size}, not a grey PNG of {size}")
                elif image.tobytes() != picture:
                    problems.append(f"{target / path}: pixels differ from the original")
        except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG chunk.
            problems.append(f"{target / path}: {error}")
    if problems:
        sys.exit("\n".join(problems))
    kilobytes = sum((target / path).stat().st_size for path in wanted) / 1000
    print(f"{len(pictures)} images, {kilobytes:.0f} kB, all equal to the originals")


def main():
    parser = argparse.ArgumentParser(description="Makes or checks sample/fashion.")
    parser.add_argument("source", nargs="?", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--check", action="store_true", help="write nothing, only check what is there")
    arguments = parser.parse_args()
    target = Path(__file__).resolve().parent / "fashion"
    pictures = list(pick(arguments.source))
    if not arguments.check:
        for split in SPLITS:
            shutil.rmtree(target / split, ignore_errors=True)
        for path, size, picture in pictures:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            Image.frombytes("L", size, picture).save(target / path, optimize=True)
    check(target, pictures)


if __name__ == "__main__":
    main()
