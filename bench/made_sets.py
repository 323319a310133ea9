"""Draws data sets of kinds that ImageNet has few of, as class folders.

    python bench/made_sets.py FOLDER

Needs Pillow and NumPy. The images are the same each time. Each set is FOLDER/NAME/<class>/*.png:

    textures        six weaves that differ in direction and period, in random colours
    small-defects   noise with a faint spot, a scratch, or nothing; the defect covers less than 1 % of the image
    grey            six outlines of the same grey on grey
    few-images      the outlines in colour, six images of each
    many-classes    sixty pairs of an outline and a colour, twelve images of each
    imbalance       three outlines, with 300, 30 and 12 images
"""
import pathlib
import sys

import numpy
from PIL import Image, ImageDraw

SIDE = 160
SHAPES = ["circle", "square", "triangle", "cross", "ring", "bar"]
COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "white"]


def outline(draw, shape, centre, radius, angle, colour):
    """Draws a shape of this radius in pixels, rotated by an angle in radians."""
    def turned(points):
        turn = numpy.array([[numpy.cos(angle), -numpy.sin(angle)], [numpy.sin(angle), numpy.cos(angle)]])
        return [tuple(point) for point in numpy.array(points) @ turn.T * radius + centre]

    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "ring":
        draw.ellipse(box, outline=colour, width=max(2, int(radius / 3)))
    elif shape == "square":
        draw.polygon(turned([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]), fill=colour)
    elif shape == "triangle":
        draw.polygon(turned([(0, -1), (0.9, 0.7), (-0.9, 0.7)]), fill=colour)
    elif shape == "bar":
        draw.polygon(turned([(-1, -0.2), (1, -0.2), (1, 0.2), (-1, 0.2)]), fill=colour)
    else:
        for corners in ([(-1, -0.25), (1, -0.25), (1, 0.25), (-1, 0.25)], [(-0.25, -1), (0.25, -1), (0.25, 1), (-0.25, 1)]):
            draw.polygon(turned(corners), fill=colour)


def shape_image(random, shape, colour, background):
    """Draws a shape at a random position on noise around a background colour."""
    noise = random.normal(0, 18, (SIDE, SIDE, 1)) + numpy.array(background)
    image = Image.fromarray(noise.clip(0, 255).astype(numpy.uint8).repeat(3 if noise.shape[2] == 1 else 1, axis=2))
    radius = random.uniform(18, 45)
    centre = random.uniform(radius, SIDE - radius, 2)
    outline(ImageDraw.Draw(image), shape, centre, radius, random.uniform(0, 2 * numpy.pi), colour)
    return image


def texture(random, kind):
    """Draws two crossing gratings; their angle and period determine the class, and colours and phase do not matter."""
    angle, period = [(0.0, 6), (0.0, 12), (0.6, 6), (0.6, 12), (1.2, 6), (1.2, 12)][kind]
    angle += random.normal(0, 0.08)
    y, x = numpy.mgrid[0:SIDE, 0:SIDE]
    along, across = x * numpy.cos(angle) + y * numpy.sin(angle), y * numpy.cos(angle) - x * numpy.sin(angle)
    phase = random.uniform(0, 2 * numpy.pi, 2)
    wave = numpy.sin(2 * numpy.pi * along / period + phase[0]) + 0.4 * numpy.sin(2 * numpy.pi * across / 9 + phase[1])
    first, second = random.uniform(30, 225, (2, 3))
    share = (wave[..., None] + 1.4) / 2.8
    pixels = first * share + second * (1 - share) + random.normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def defect(random, kind):
    """Draws grey noise that hides a spot or a scratch."""
    base = random.uniform(90, 160) + random.normal(0, 14, (SIDE, SIDE))
    image = Image.fromarray(base.clip(0, 255).astype(numpy.uint8))
    draw, level = ImageDraw.Draw(image), int(random.uniform(20, 50))
    x, y = random.uniform(25, SIDE - 25, 2)
    if kind == 1:
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=level)
    elif kind == 2:
        angle = random.uniform(0, numpy.pi)
        dx, dy = 18 * numpy.cos(angle), 18 * numpy.sin(angle)
        draw.line([x - dx, y - dy, x + dx, y + dy], fill=level, width=2)
    return image


def write(folder, name, label, images):
    target = folder / name / label
    target.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        image.save(target / f"{number:03}.png")


def make(folder):
    """Writes all sets below a folder."""
    random = numpy.random.default_rng(0)

    def shapes(shape, colour, count, background=None):
        ground = lambda: random.uniform(40, 200, 1) if background is None else background
        return [shape_image(random, shape, colour, ground()) for _ in range(count)]

    for kind in range(6):
        write(folder, "textures", f"weave-{kind}", [texture(random, kind) for _ in range(60)])
    for kind, label in enumerate(["none", "spot", "scratch"]):
        write(folder, "small-defects", label, [defect(random, kind) for _ in range(120)])
    for shape in SHAPES:
        write(folder, "grey", shape, shapes(shape, (150, 150, 150), 60, [115]))
        write(folder, "few-images", shape, shapes(shape, "orange", 6))
        for colour in COLOURS:
            write(folder, "many-classes", f"{colour}-{shape}", shapes(shape, colour, 12))
    for shape, count in zip(SHAPES, [300, 30, 12]):
        write(folder, "imbalance", shape, shapes(shape, "cyan", count))


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]))
