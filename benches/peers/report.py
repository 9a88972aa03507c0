"""What was measured, for people and as JSON."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from alternate import Contender

PACKAGES = [
    "anomalib", "faiss-cpu", "nncf", "numpy", "onnx", "onnxruntime", "openvino", "pillow", "safetensors", "timm", "torch", "torchvision",
]  # fmt: skip


@dataclass
class Bar:
    """At most `most` times the peer's time, or at most so many milliseconds."""

    most: float
    unit: str = "×"

    def __str__(self) -> str:
        return f"≤ {self.most:g} {self.unit}"

    def kept(self, own_ms: float, ratio: float) -> bool:
        return (ratio if self.unit == "×" else own_ms) <= self.most


@dataclass
class Row:
    """Intakt beside one peer."""

    work: str
    threads: int
    own: Contender
    peer: Contender
    agreement: str
    bar: Bar | None = None

    @property
    def ratio(self) -> float:
        return self.own.median_ms / self.peer.median_ms

    @property
    def best_ratio(self) -> float:
        """Of the fastest run of each: what is left where others work in the machine, or its host, for seconds at a time."""
        return min(self.own.nanos) / min(self.peer.nanos)

    @property
    def kept(self) -> bool | None:
        return self.bar and self.bar.kept(self.own.median_ms, self.ratio)

    def cells(self) -> list[str]:
        return [
            self.work,
            str(self.threads),
            f"{self.own.precision}: {self.own.median_ms:.2f} ms",
            f"{self.peer.label}: {self.peer.median_ms:.2f} ms",
            f"{self.ratio:.3f}",
            f"{self.best_ratio:.3f}",
            str(self.bar or ""),
            {None: "", True: "kept", False: "**missed**"}[self.kept],
            self.agreement,
        ]


HEADER = ["work", "threads", "Intakt", "peer", "Intakt / peer", "of the best runs", "bar", "", "results"]


def table(rows: list[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def correlation(own: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Over the results of a work the least."""
    pairs = zip(own, reference, strict=True)
    return min(np.corrcoef(a.astype(np.float64).ravel(), b.astype(np.float64).ravel())[0, 1] for a, b in pairs)


def likeness(own: list[np.ndarray], reference: list[np.ndarray]) -> str:
    """Over the results of a work the worst: relative error and correlation."""
    errors = []
    for mine, other in zip(own, reference, strict=True):
        mine, other = mine.astype(np.float64).ravel(), other.astype(np.float64).ravel()
        errors.append(np.linalg.norm(mine - other) / np.linalg.norm(other))
    return f"error {max(errors):.1e}, correlation {correlation(own, reference):.5f}"


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def instructions() -> list[str]:
    """What the CPU has of what decides such a contest."""
    wanted = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return [name for name in wanted if name in line.split()]
    return []


def as_json(rows: list[Row], others: list[dict], load: list[float], notes: list[str]) -> dict:
    def side(contender: Contender) -> dict:
        return {
            "name": contender.name,
            "precision": contender.precision,
            "median_ms": contender.median_ms,
            "best_ms": min(contender.nanos) / 1e6,
            "samples_ms": [nanos / 1e6 for nanos in contender.nanos],
        }

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "instructions": instructions(),
        "load_average_before": load,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "notes": notes,
        "rows": [
            {
                "work": row.work,
                "threads": row.threads,
                "intakt": side(row.own),
                "peer": side(row.peer),
                "ratio": row.ratio,
                "best_ratio": row.best_ratio,
                "bar": str(row.bar) if row.bar else None,
                "kept": row.kept,
                "results": row.agreement,
            }
            for row in rows
        ],
        "others": others,
    }
