"""Nearest neighbours in a memory bank, and Mahalanobis distances, on embeddings of real images by ResNet-18."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import torch
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
from safetensors.numpy import load_file, save_file

import material
from alternate import Contender, Intakt, timed

# Side of the network's input, as PatchCore and PaDiM have it: 28×28 patches of layer2, 56×56 positions of layer1.
SIDE_PX = 224
N_POOL = 30
N_GAUSSIAN = 60
DIMS = 100
REGULARISATION = 0.01


def memory_bank(data: material.Data, folder: Path) -> Path:
    """16,384 × 1536 evenly spaced patches of normal images, and the 784 of a defective one."""
    network = material.resnet18_to_layer3(data, ["layer2", "layer3"])

    def embedded(path: Path) -> np.ndarray:
        small = material.resized(path, folder / "patch.png", SIDE_PX)
        return material.stacked(material.patches(network, small)).numpy()

    pool = np.concatenate([embedded(path) for path in data.train()[:N_POOL]])
    bank = pool[np.arange(material.BANK_ROWS) * len(pool) // material.BANK_ROWS]
    path = folder / "bank.safetensors"
    save_file({"bank": np.ascontiguousarray(bank), "queries": embedded(data.defective())}, path)
    return path


def nearest(process: Intakt, arrays: Path, threads: int) -> list[Contender]:
    loaded = load_file(arrays)
    bank, queries = loaded["bank"], loaded["queries"]
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)

    def search():
        faiss.omp_set_num_threads(threads)
        return index.search(queries, 1)

    def results() -> list[np.ndarray]:
        distances, rows = search()
        return [rows[:, 0], distances[:, 0]]

    own = process.contender("f32, exact", f"nearest {threads}", kind="nearest", arrays=str(arrays), threads=threads)
    return [own, Contender("FAISS IndexFlatL2", "f32", timed(search), results)]


def same_rows(arrays: Path, own: np.ndarray, peers: np.ndarray) -> str:
    """Where they differ, which of the two rows is truly nearer, in `f64`."""
    own, peers = own.astype(np.int64), peers.astype(np.int64)
    different = np.flatnonzero(own != peers)
    if len(different) == 0:
        return f"the same {len(own)} rows"
    loaded = load_file(arrays)
    bank, queries = loaded["bank"].astype(np.float64), loaded["queries"].astype(np.float64)
    farther = sum(
        ((queries[at] - bank[own[at]]) ** 2).sum() > ((queries[at] - bank[peers[at]]) ** 2).sum() for at in different
    )
    return f"{len(different)} of {len(own)} rows differ; in {farther} of these the peer's is nearer (f64)"


def gaussians(data: material.Data, folder: Path) -> Path:
    """PaDiM's Gaussians on normal images, and the vectors of a defective one: 56×56 positions of 100 dims."""
    network = material.resnet18_to_layer3(data, ["layer1", "layer2", "layer3"])
    dims = np.sort(np.random.default_rng(0).permutation(448)[:DIMS])

    def vectors(path: Path) -> np.ndarray:
        image = torch.from_numpy(material.normalised(material.resized(path, folder / "patch.png", SIDE_PX)))
        with torch.no_grad():
            maps = network(image)
        grid = maps[0].shape[-2:]
        maps = [torch.nn.functional.interpolate(a_map, size=grid, mode="nearest") for a_map in maps]
        return torch.cat(maps, 1)[0].permute(1, 2, 0).reshape(-1, 448).numpy()[:, dims]

    normal = np.stack([vectors(path) for path in data.train()[:N_GAUSSIAN]]).astype(np.float64)
    means = normal.mean(0)
    centred = normal - means
    covariances = centred.transpose(1, 2, 0) @ centred.transpose(1, 0, 2) / (len(normal) - 1)
    covariances += REGULARISATION * np.eye(DIMS)
    inverses = np.linalg.inv(covariances)
    factors = np.linalg.inv(np.linalg.cholesky(covariances))
    packed = factors[:, *np.tril_indices(DIMS)]
    path = folder / "gaussians.safetensors"
    arrays = {"means": means, "inverses": inverses, "factors": packed, "vectors": vectors(data.defective())}
    save_file({name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}, path)
    return path


def mahalanobis(process: Intakt, arrays: Path, threads: int) -> list[Contender]:
    loaded = {name: torch.from_numpy(array) for name, array in load_file(arrays).items()}
    side = round(len(loaded["means"]) ** 0.5)
    embedding = loaded["vectors"].T.reshape(1, DIMS, side, side).contiguous()
    stats = [loaded["means"].T.contiguous(), loaded["inverses"]]

    def distances() -> torch.Tensor:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return AnomalyMapGenerator.compute_distance(embedding, stats)

    own = process.contender(
        "f32, factors in 16 bits", f"mahalanobis {threads}", kind="mahalanobis", arrays=str(arrays), threads=threads
    )
    peer = Contender("PyTorch, as in anomalib", "f32", timed(distances), lambda: [distances().numpy().ravel()])
    return [own, peer]
