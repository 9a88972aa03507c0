"""Prints the reference numbers of the scorers' tests: what PyTorch and NumPy make of the same seeded input.

    python tests/parity/scorers.py

Needs numpy and torch. The numbers are stored in the tests named beside them.
"""

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
MASK = (1 << 64) - 1


def values(*shape, seed):
    """SplitMix64 from `seed`: the upper 24 bits mapped to -1 ... 1, as `scorer_testing::values`."""
    state, out = seed, []
    for _ in range(int(np.prod(shape))):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(((z ^ (z >> 31)) >> 40) / (1 << 23) - 1.0)
    return torch.tensor(out, dtype=torch.float32).reshape(shape)


def show(test, name, numbers):
    numbers = ", ".join(f"{x:.7}" for x in np.asarray(numbers).ravel())
    print(f"{test}: {name} = [{numbers}]\n")


def nchw(hwc):
    return hwc.permute(2, 0, 1)[None]


def hwc(nchw_map):
    return nchw_map[0].permute(1, 2, 0)


# --- kernels -----------------------------------------------------------------------------------------------------------
image = nchw(values(4, 5, 2, seed=1))
show("pool.rs", "AVERAGE", hwc(F.avg_pool2d(image, 3, 1, 1)).reshape(-1)[:12])
show("pool.rs", "MAX", hwc(F.max_pool2d(image, 2, 2, ceil_mode=True)))
show("resize.rs", "BILINEAR", hwc(F.interpolate(image, (7, 8), mode="bilinear", align_corners=False)).reshape(-1)[16:32])
show("resize.rs", "NEAREST", hwc(F.interpolate(image, (7, 8), mode="nearest")).reshape(-1)[16:32])
weights, bias = values(3, 3, 3, 2, seed=2), values(3, seed=3)
weights = weights.permute(0, 3, 1, 2)
show("conv.rs", "ZERO", hwc(F.conv2d(image, weights, bias, padding=1)).reshape(-1)[:9])
show("conv.rs", "REFLECT", hwc(F.conv2d(F.pad(image, (1,) * 4, mode="reflect"), weights, bias)).reshape(-1)[:9])


def gaussian_blur(values_map, sigma):
    """anomalib's GaussianBlur2d: kernel of 2 int(4 sigma + 0.5) + 1, reflect padding, outer product of the 1-d kernel."""
    radius = int(4 * sigma + 0.5)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    kernel = torch.outer(kernel, kernel)[None, None].float()
    return F.conv2d(F.pad(values_map[None, None], (radius,) * 4, mode="reflect"), kernel)[0, 0]


show("blur.rs", "BLURRED", gaussian_blur(values(12, 10, seed=5), 1.5).reshape(-1)[:12])

# --- embedding ---------------------------------------------------------------------------------------------------------
shallow, deep = nchw(values(4, 4, 2, seed=1)), nchw(values(2, 2, 3, seed=2))
averaged = F.avg_pool2d(deep, 3, 1, 1)
bilinear = [F.avg_pool2d(shallow, 3, 1, 1), F.interpolate(averaged, (4, 4), mode="bilinear", align_corners=False)]
nearest = [shallow, F.interpolate(deep, (4, 4), mode="nearest")]
show("embedding.rs", "BILINEAR", hwc(torch.cat(bilinear, 1)).reshape(-1)[25:35])
show("embedding.rs", "NEAREST", hwc(torch.cat(nearest, 1)).reshape(-1)[25:35])

# --- PatchCore: as anomalib's PatchcoreModel.compute_anomaly_score, for every patch -------------------------------------
bank, patches, n_neighbors = values(12, 4, seed=11), values(6, 4, seed=12), 5
distances = torch.cdist(patches, bank, compute_mode="donot_use_mm_for_euclid_dist")
scores, locations = distances.min(1)
show("patchcore.rs", "DISTANCES", scores)
support = torch.cdist(bank[locations], bank, compute_mode="donot_use_mm_for_euclid_dist")
support = support.topk(n_neighbors, largest=False).indices
to_support = torch.linalg.vector_norm(patches[:, None] - bank[support], dim=2)
show("patchcore.rs", "WEIGHTS", (1 - F.softmax(to_support, 1))[:, 0])

# --- PaDiM and the shared Gaussian: numpy.cov over images, 0.01 on the diagonal -----------------------------------------
train = np.stack([values(2, 2, 3, seed=20 + i).numpy() for i in range(6)]).astype(np.float64)
test = values(2, 2, 3, seed=40).numpy().astype(np.float64)


def mahalanobis(samples, x):
    inverse = np.linalg.inv(np.cov(samples, rowvar=False) + 0.01 * np.eye(samples.shape[1]))
    delta = x - samples.mean(0)
    return np.sqrt(delta @ inverse @ delta)


show("padim.rs", "DISTANCES", [mahalanobis(train[:, y, x], test[y, x]) for y in range(2) for x in range(2)])
show("gaussian.rs", "DISTANCES", [mahalanobis(train.reshape(-1, 3), v) for v in test.reshape(-1, 3)])

# --- global kNN: average pooling, mean distance to the two nearest ------------------------------------------------------
pooled, query = train.mean((1, 2)), test.mean((0, 1))
show("global_knn.rs", "SCORE", [np.sort(np.linalg.norm(pooled - query, axis=1))[:2].mean()])
