"""Lets Intakt and its peers do the same work in turn."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Callable

import numpy as np

# Between two turns, so that the threads of one have stopped spinning when the other begins.
PAUSE_SECONDS = 0.01
# What a work may take; slow ones get fewer turns, but these at least.
WORK_SECONDS = 60
ROUNDS_MIN = 4

INTAKT = "Intakt"


class Refused(Exception):
    """Something is missing; the sentence says what, and what to do."""


@dataclass
class Contender:
    """One who does the work: `run` does it once and gives the nanoseconds that took."""

    name: str
    precision: str
    run: Callable[[], int]
    # Does it once more and gives its results, in one form for all contenders of a work.
    results: Callable[[], list[np.ndarray]]
    nanos: list[int] = field(default_factory=list)

    @property
    def is_intakt(self) -> bool:
        return self.name == INTAKT

    @property
    def median_ms(self) -> float:
        return median(self.nanos) / 1e6

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"


def alternate(contenders: list[Contender], rounds: int, counted: int = 2) -> None:
    """A B C, B C A, C A B …: at each turn once to warm up caches and clock, and then `counted` times that count."""
    # Whatever is made when it is first needed is made here.
    for contender in contenders:
        contender.run()
    round_seconds = (1 + counted) * sum(contender.run() for contender in contenders) / 1e9
    for turn in range(min(rounds, max(ROUNDS_MIN, round(WORK_SECONDS / round_seconds)))):
        first = turn % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            contender.run()
            contender.nanos.extend(contender.run() for _ in range(counted))
            time.sleep(PAUSE_SECONDS)


def timed(work: Callable[[], object]) -> Callable[[], int]:
    def run() -> int:
        started = time.perf_counter_ns()
        work()
        return time.perf_counter_ns() - started

    return run


class Intakt:
    """The process on the other side: a line of JSON for each request."""

    def __init__(self, program: Path, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [program, "--bench"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )

    def ask(self, ask: str, **request) -> dict:
        self.process.stdin.write(json.dumps({"ask": ask, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"Intakt's side ended while it was asked to {ask}: its last words are above")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(f"Intakt's side could not {ask}: {answer['error']}")
        return answer

    def contender(self, computed_in: str, name: str, **work) -> Contender:
        """Gets a work ready that runs under `name`."""
        self.ask("prepare", name=name, work=work)

        def results() -> list[np.ndarray]:
            saved = self.ask("run", name=name, save=str(self.folder / "result"))["saved"]
            return [np.load(path) for path in saved]

        return Contender(INTAKT, computed_in, lambda: self.ask("run", name=name)["nanos"], results)

    def figures(self, name: str) -> dict:
        answer = self.ask("run", name=name)
        return {"nanos": answer["nanos"], **answer["figures"]}

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
