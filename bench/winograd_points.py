"""Prints the errors of Winograd's convolution F(4x4, 3x3) in f32 for several sets of points.

    pip install numpy
    python bench/winograd_points.py

The input is the positive part of normal values, and the weights have He's variance. Errors are root mean squares and maxima, relative
to the output's root mean square, against the direct sum in f64. F(2x2, 3x3) and the direct sum in f32 are there for comparison.
"""
import numpy as np

TILES, OUTPUTS, CHANNELS = 300, 32, (64, 512)
# Finite points of a tile's polynomials; the last one is at infinity.
POINTS = {
    "F(2x2): 0, 1, -1": (2, [0, 1, -1]),
    "F(4x4): 0, 1, -1, 2, -2": (4, [0, 1, -1, 2, -2]),
    "F(4x4): 0, 1, -1, 1/2, -1/2": (4, [0, 1, -1, 0.5, -0.5]),
    "F(4x4): 0, 1, -1, 1/2, -2": (4, [0, 1, -1, 0.5, -2]),
    "F(4x4): 0, 1/2, -1/2, 3/2, -3/2": (4, [0, 0.5, -0.5, 1.5, -1.5]),
    "F(4x4): 0, 3/4, -3/4, 3/2, -3/2": (4, [0, 0.75, -0.75, 1.5, -1.5]),
    "F(4x4): 0, 1/sqrt 2, -1/sqrt 2, sqrt 2, -sqrt 2": (4, [0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)]),
}


def matrices(points, pixels):
    """Returns the transforms of outputs, filters and inputs along one side (Toom and Cook)."""
    points, count = np.array(points, np.float64), len(points)
    others = [np.delete(points, index) for index in range(count)]
    factors = [1 / np.prod(points[index] - others[index]) for index in range(count)]
    output = np.array([[*points**power, float(power == pixels - 1)] for power in range(pixels)])
    filters = np.array([[point**power * factor for power in range(3)] for point, factor in zip(points, factors)] + [[0, 0, 1]])
    inputs = np.array([[*np.poly(rest)[::-1], 0] for rest in others] + [np.poly(points)[::-1]])
    return output, filters, inputs


def both_sides(matrix, values):
    """Transforms the last two axes in f32, one after the other."""
    matrix = matrix.astype(np.float32)
    down = np.einsum("ij,...jk->...ik", matrix, values).astype(np.float32)
    return np.einsum("ij,...kj->...ki", matrix, down).astype(np.float32)


def direct(inputs, filters, pixels, dtype):
    result = np.zeros((*inputs.shape[:1], *filters.shape[:1], pixels, pixels), dtype)
    for row in range(pixels):
        for column in range(pixels):
            window = inputs[:, :, row : row + 3, column : column + 3].reshape(len(inputs), -1).astype(dtype)
            result[:, :, row, column] = window @ filters.reshape(len(filters), -1).astype(dtype).T
    return result


def winograd(inputs, filters, points, pixels):
    output, of_filters, of_inputs = matrices(points, pixels)
    spread, filters = both_sides(of_inputs, inputs), both_sides(of_filters, filters)
    side = pixels + 2
    products = np.empty((len(inputs), len(filters), side, side), np.float32)
    for row in range(side):
        for column in range(side):
            products[:, :, row, column] = spread[:, :, row, column] @ filters[:, :, row, column].T
    return both_sides(output, products)


def main():
    print("| channels | points | root mean square | maximum | direct sum, root mean square | maximum |\n" + "|---" * 6 + "|")
    for channels in CHANNELS:
        for name, (pixels, points) in POINTS.items():
            random = np.random.default_rng(0)
            inputs = np.maximum(random.standard_normal((TILES, channels, pixels + 2, pixels + 2)), 0).astype(np.float32)
            filters = (random.standard_normal((OUTPUTS, channels, 3, 3)) * (2 / (9 * channels)) ** 0.5).astype(np.float32)
            exact = direct(inputs, filters, pixels, np.float64)
            scale = (exact**2).mean() ** 0.5
            cells = []
            for found in (winograd(inputs, filters, points, pixels), direct(inputs, filters, pixels, np.float32)):
                error = (found - exact) / scale
                cells += [f"{(error**2).mean() ** 0.5:.1e}", f"{abs(error).max():.1e}"]
            print(f"| {channels} | {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
