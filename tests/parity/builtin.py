"""Reference numbers of the built-in backbone: operators/src/detector/backbone/builtin/tests/mod.rs, `PARITY`.

Run: python3 tests/parity/builtin.py    (numpy only)

The closed form of Kuo et al. 2019 written with numpy: two hops, (kernel, kept) = (3, 6) and (3, 5), fitted on two images
of 21 x 26 pixels given by a formula, then applied to the first. Only what defines the result is repeated here: which
neighbourhoods are sampled (one per cell of a 16 x 16 grid, at a place that SplitMix64 gives), the fixed point of the sums
(1/4096), reflection at the edges, pooling and scaling.
"""

import numpy as np

HEIGHT, WIDTH, STRIDE = 21, 26, 8
HOPS = [(3, 6), (3, 5)]
MASK = (1 << 64) - 1


def image(which):
    y, x, c = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    return ((x * x + 3 * y * (x + 7 * which + 1) + 40 * c * (y % 5) + 11 * which) % 256).astype(np.float32) / np.float32(255)


def splitmix(seed):
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def samples(height, width, seed):
    rows, columns = min(height, 16), min(width, 16)
    for row in range(rows):
        for column in range(columns):
            z = splitmix(seed * 65536 + row * 16 + column)
            y0, y1 = row * height // rows, (row + 1) * height // rows
            x0, x1 = column * width // columns, (column + 1) * width // columns
            yield y0 + (z >> 32) % (y1 - y0), x0 + (z & 0xFFFFFFFF) % (x1 - x0)


def fixed(values):
    return np.round(values.astype(np.float32) * np.float32(4096)).astype(np.float64) / 4096


def neighbourhoods(inputs, kernel):
    """(height, width, channels) -> (height, width, kernel * kernel * channels)"""
    height, width, channels = inputs.shape
    r = kernel // 2
    padded = np.pad(inputs, ((r, r), (r, r), (0, 0)), mode="reflect")
    shifted = [padded[dy : dy + height, dx : dx + width] for dy in range(kernel) for dx in range(kernel)]
    return np.concatenate(shifted, axis=2)


def fit_hop(inputs, kernel, kept, seed):
    vectors = []
    for one in inputs:
        around = neighbourhoods(one, kernel)
        vectors += [fixed(around[y, x]) for y, x in samples(*one.shape[:2], seed)]
    vectors = np.stack(vectors)
    dims = vectors.shape[1]
    mean = vectors.mean(0)
    without_mean = vectors - vectors.mean(1, keepdims=True)
    values, axes = np.linalg.eigh(np.cov(without_mean.T, bias=True))
    values, axes = values[::-1][: kept - 1], axes.T[::-1][: kept - 1]
    axes = np.stack([axis * np.sign(axis[np.argmax(np.abs(axis))]) for axis in axes])
    kernels = np.concatenate([np.full((1, dims), dims**-0.5), axes])
    variance = (np.var(vectors @ kernels[0]) + values.sum()) / kept
    kernels = kernels / np.sqrt(variance)
    return lambda one: (neighbourhoods(one, kernel) - mean) @ kernels.T


def squares(inputs, factor, how):
    height, width, _ = inputs.shape
    rows = range(0, height, factor)
    columns = range(0, width, factor)
    return np.stack([np.stack([how(inputs[y : y + factor, x : x + factor]) for x in columns]) for y in rows])


def energy(square):
    return np.sqrt((square**2).mean((0, 1)))


def maximum(square):
    return square.max((0, 1))


inputs = [image(0), image(1)]
for index, (kernel, kept) in enumerate(HOPS):
    hop = fit_hop(inputs, kernel, kept, index)
    outputs = [hop(one) for one in inputs]
    taps = [squares(one, STRIDE >> index, [energy, maximum][index]) for one in outputs]
    spread = np.concatenate([tap.reshape(-1, kept) for tap in taps])
    tap = taps[0] / np.sqrt(spread.var(0).mean())
    print(f"// hop{index + 1}: {tap.shape}")
    print(", ".join(f"{value:.5f}" for value in tap.reshape(-1)) + ",")
    inputs = [squares(one, 2, maximum) for one in outputs]
