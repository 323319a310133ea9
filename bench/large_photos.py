"""Makes photographs of 12 megapixels, like those from cameras, out of small ones: half of them enlarged with a sensor's noise,
half of them tiled from many small ones (with more detail than any photograph has).

    python bench/large_photos.py FOLDER/train OUT --per-class 40
"""

import argparse
import pathlib

import numpy
from PIL import Image

WIDTH, HEIGHT = 4000, 3000


def enlarged(path, draws):
    image = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.BICUBIC)
    noise = draws.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(numpy.int16)
    return Image.fromarray((numpy.asarray(image).astype(numpy.int16) + noise).clip(0, 255).astype(numpy.uint8))


def tiled(paths, draws):
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for top in range(0, HEIGHT, 250):
        for left in range(0, WIDTH, 250):
            image.paste(Image.open(paths[draws.integers(len(paths))]).convert("RGB").resize((250, 250)), (left, top))
    return image


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--per-class", type=int, default=40)
    arguments = arguments.parse_args()
    draws = numpy.random.default_rng(0)
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        paths = sorted(folder.iterdir())
        (arguments.out / folder.name).mkdir(parents=True, exist_ok=True)
        for number in range(arguments.per_class):
            image = enlarged(paths[number], draws) if number % 2 == 0 else tiled(paths, draws)
            image.save(arguments.out / folder.name / f"{number:03}.jpg", quality=90, subsampling="4:2:0")


if __name__ == "__main__":
    main()
