"""A line that nobody looks at, and the same line with many viewers: what they do to its latency and its memory."""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

# How much later the 99th percentile of verdicts may be with viewers.
BAR = 1.1
# Of the pictures that could be drawn, a second of each camera for each viewer, so many are seen at least.
PICTURES_BAR = 0.8
# How much more memory the last minute may take than the second, when windows are full.
MEMORY_BAR = 1.05
# Of five viewers one looks at something else than the line, which it asks for as often as the page does.
OTHER_VIEWS = 5
OTHER_VIEW_S = 2
OTHERS = [
    "/api/v1/rates?scope=all&window=1m&limit=240",
    "/api/v1/latencies?window=5m",
    "/api/v1/histogram?camera=camera00",
    "/api/v1/verdicts?decision=reject&limit=60",
]
# The first seconds of a turn do not count: what begins then is not what goes on.
SETTLED_S = 10
# Frames that the cameras show again and again, of which every eighth shows another product: it is rejected, as about as many are of a
# line that has defects.
FRAMES = 40
REJECTED_EVERY = 8
# Edge of what the detector looks at: small, so that two cores do 240 frames a second.
SIZE_PX = 64


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("intakt", type=Path, help="the program")
    asked.add_argument("demo", type=Path, help="what `intakt demo` left behind")
    asked.add_argument("--minutes", type=float, default=5, help="without viewers, and as many with them")
    asked.add_argument("--turns", type=int, default=1, help="in so many turns each, on a machine that others use too")
    asked.add_argument("--cameras", type=int, default=16)
    asked.add_argument("--rate", type=float, default=15, help="frames a second of a camera")
    asked.add_argument("--viewers", type=int, default=50)
    asked = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        normal = asked.demo / "normal/metal"
        fit = [asked.intakt, "fit", normal, "--size", str(SIZE_PX), "-o", f"{place}/metal.intakt"]
        subprocess.run(fit, check=True, stderr=subprocess.DEVNULL)
        sys.exit(asyncio.run(compare(asked, shown(asked.demo), Path(place))))


def shown(demo):
    products = [sorted((demo / "normal" / name).glob("*.png"))[:FRAMES] for name in ("metal", "fabric")]
    is_other = [at % REJECTED_EVERY == REJECTED_EVERY - 1 for at in range(FRAMES)]
    return [products[other][at].read_bytes() for at, other in enumerate(is_other)]


async def compare(asked, frames, place):
    line = Line(asked.cameras, asked.rate, frames)
    port = await line.open()
    # Windows that are full after a minute: what grows then grows for another reason.
    run_file = 'detector = "metal.intakt"\n[rates]\nwindows = ["1m"]\nlabel_horizon = "1m"\n' + "".join(
        f'[[camera]]\nname = "{name}"\nsource = "mjpeg"\nurl = "http://127.0.0.1:{port}/{name}"\n'
        for name in line.names
    )
    (place / "line.toml").write_text(run_file)
    os.mkfifo(place / "verdicts")
    command = [
        asked.intakt.resolve(),
        "inspect",
        "line.toml",
        "--run",
        "run",
        "--at-once",
        "verdicts",
        "--jsonl",
        "log",
        "--listen",
        "127.0.0.1:0",
    ]
    with (place / "said").open("w") as said:
        server = await asyncio.create_subprocess_exec(*command, cwd=place, stderr=said)
    try:
        hearing = asyncio.create_task(line.hear(place / "verdicts"))
        while not (found := re.search(r"listening on (http://\S+)", (place / "said").read_text())):
            assert server.returncode is None, (place / "said").read_text()
            await asyncio.sleep(0.1)
        sides = [Side(line, server.pid, found[1], viewers) for viewers in (0, asked.viewers)]
        for side in sides * asked.turns:
            await side.look(60 * asked.minutes / asked.turns)
        assert not hearing.done(), hearing.exception()
    finally:
        server.terminate()
        await server.wait()
    print(
        f"{asked.cameras} cameras, {asked.rate:g} frames a second each, {asked.minutes:g} minutes in {asked.turns} turns"
    )
    print("| | " + " | ".join(f"{side.viewers} viewers" for side in sides) + " |\n|---|---|---|")
    for row in zip(*(side.rows() for side in sides), strict=True):
        print(f"| {row[0][0]} | " + " | ".join(said for _, said in row) + " |")
    without, looked_at = (statistics.median(side.latency_ms(0.99)) for side in sides)
    print(f"99 % with viewers: {looked_at / without:.2f} of that without (bar: {BAR})")
    # In turns, a side's minutes do not follow each other: what the other side takes comes in between.
    grown = [side.growth() for side in sides if asked.turns == 1 and side.growth()]
    if grown:
        said = ", ".join(f"{by:.2f}" for by in grown)
        print(f"memory in the last minute: {said} of that in the second (bar: {MEMORY_BAR})")
    # What nobody was shown costs nothing.
    counted = sides[1].counted
    seen = counted["pictures"] / counted["seconds"] / (asked.viewers * asked.cameras)
    print(f"pictures: {seen:.2f} of those that could be drawn (at least {PICTURES_BAR}); {counted['refused']} answers refused")
    is_served = seen >= PICTURES_BAR and not counted["refused"]
    return looked_at > BAR * without or any(by > MEMORY_BAR for by in grown) or not is_served


class Line:
    """Network cameras that send PNG files one after the other, and the verdicts on them."""

    def __init__(self, cameras, rate, frames):
        self.names = [f"camera{number:02}" for number in range(cameras)]
        self.rate, self.frames = rate, frames
        self.sent_at, self.sent, self.rejected, self.took_ms = {}, 0, 0, []

    async def open(self):
        self.server = await asyncio.start_server(self.send, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def send(self, reader, writer):
        name = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().strip("/")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        # One after the other, as cameras that know nothing of each other.
        due = time.monotonic() + self.names.index(name) / len(self.names) / self.rate
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            for seq in range(sys.maxsize):
                await asyncio.sleep(max(0, due - time.monotonic()))
                due += 1 / self.rate
                frame = self.frames[seq % len(self.frames)]
                self.sent_at[name, seq] = time.monotonic()
                self.sent += 1
                writer.write(b"--frame\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(frame), frame))
                await writer.drain()

    async def hear(self, pipe):
        """Notes how long after its frame each verdict is there."""
        verdicts = asyncio.StreamReader()
        # Opened at once, whether the other end is there or not.
        opened = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb")
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(verdicts), opened)
        async for text in verdicts:
            verdict = json.loads(text)
            sent_at = self.sent_at.pop((verdict["camera"], verdict["seq"]))
            self.rejected += verdict["decision"] == "reject"
            if verdict["decision"] != "dropped":
                self.took_ms.append((time.monotonic() - sent_at) * 1000)


class Side:
    """The line with so many viewers, in one turn or several."""

    def __init__(self, line, pid, url, viewers):
        self.line, self.pid, self.url, self.viewers = line, pid, url, viewers
        self.took_ms, self.resident_mb, self.counted = [], [], Counter()

    async def look(self, seconds):
        ended = multiprocessing.Event()
        counts = multiprocessing.Array("Q", 4)
        viewing = multiprocessing.Process(target=view, args=(self.url, self.viewers, counts, ended))
        viewing.start()
        await asyncio.sleep(SETTLED_S)
        self.line.took_ms.clear()
        before = await self.count(viewing.pid, counts)
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(1, left))
            self.resident_mb.append(resident_mb(self.pid))
        self.took_ms.append(sorted(self.line.took_ms))
        after = await self.count(viewing.pid, counts)
        self.counted.update({name: after[name] - before[name] for name in after})
        ended.set()
        await asyncio.to_thread(viewing.join)
        assert viewing.exitcode == 0

    async def count(self, viewing, counts):
        status, body = await ask(*await connect(self.url), "/api/v1/cameras")
        assert status == 200
        return {
            "seconds": time.monotonic(),
            "sent": self.line.sent,
            "rejected": self.line.rejected,
            "dropped": sum(camera["dropped"] for camera in json.loads(body)["cameras"]),
            "server_s": cpu_s(self.pid),
            "viewers_s": cpu_s(viewing),
            "events": counts[0],
            "pictures": counts[1],
            "refused": counts[2],
            "others": counts[3],
        }

    def latency_ms(self, share):
        """Turn by turn."""
        return [took_ms[int(share * (len(took_ms) - 1))] for took_ms in self.took_ms]

    def minutes(self):
        """Whole ones."""
        return [self.resident_mb[at - 60 : at] for at in range(60, len(self.resident_mb) + 1, 60)]

    def growth(self):
        """From the second minute to the last; none where there are no more."""
        minutes = [statistics.mean(minute) for minute in self.minutes()]
        return minutes[-1] / minutes[1] if len(minutes) > 2 else None

    def rows(self):
        seconds, counted = self.counted["seconds"], self.counted
        yield "frames a second", f"{counted['sent'] / seconds:.1f}"
        yield "verdicts a second", f"{sum(map(len, self.took_ms)) / seconds:.1f}"
        yield "rejected; dropped", f"{counted['rejected'] / counted['sent']:.1%}; {counted['dropped']}"
        yield "from frame to verdict, median", f"{statistics.median(self.latency_ms(0.5)):.1f} ms"
        yield "99 %, ms, turn by turn", " ".join(f"{ms:.1f}" for ms in self.latency_ms(0.99))
        yield "the server's share of a core", f"{counted['server_s'] / seconds:.2f}"
        yield "the viewers' share of a core", f"{counted['viewers_s'] / seconds:.2f}"
        yield (
            "the server's memory, MB, minute by minute",
            " ".join(f"{statistics.mean(minute):.0f}" for minute in self.minutes()),
        )
        yield "events a second", f"{counted['events'] / seconds:.0f}"
        yield "pictures a second", f"{counted['pictures'] / seconds:.0f}"
        yield "answers to other views a second", f"{counted['others'] / seconds:.1f}"
        yield "refused", str(counted["refused"])


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def view(url, viewers, counts, ended):
    """All viewers, in a process that takes what the line leaves of the cores: elsewhere they would be other machines."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    async def all_of_them():
        looking = [asyncio.create_task(look(url, counts)) for _ in range(viewers)]
        looking += [asyncio.create_task(look_elsewhere(url, at, counts)) for at in range(0, viewers, OTHER_VIEWS)]
        while not ended.is_set():
            await asyncio.sleep(0.2)
            for task in looking:
                if task.done():
                    task.result()
        for task in looking:
            task.cancel()

    asyncio.run(all_of_them())


async def look(url, counts):
    """What the page does: it hears how the line is, and how the newest frames look."""
    events, writer = await connect(url)
    writer.write(request(url, "/api/v1/events?pictures=true"))
    async for text in events:
        if text.startswith(b"event: "):
            counts[1 if text.startswith(b"event: picture") else 0] += 1
        elif text.startswith(b"HTTP/") and not text.startswith(b"HTTP/1.1 200"):
            counts[2] += 1


async def look_elsewhere(url, at, counts):
    """What the other views do: each asks for its own, some time after another."""
    connection = await connect(url)
    await asyncio.sleep(OTHER_VIEW_S * (at % 7) / 7)
    while True:
        for path in OTHERS:
            status, _ = await ask(*connection, path)
            counts[3 if status == 200 else 2] += 1
        await asyncio.sleep(OTHER_VIEW_S)


async def connect(url):
    address = urlsplit(url)
    # An event is a line as long as it takes for all cameras, or for a picture.
    return await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)


def request(url, path):
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


async def ask(reader, writer, path):
    writer.write(request("http://127.0.0.1", path))
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(head.split()[1]), await reader.readexactly(int(length[1]))


if __name__ == "__main__":
    main()
