"""Times and mean colours of four frames of the bottle video, decoded by FFmpeg (PyAV 18.1) and converted by definition.

The planes are converted here (BT.601, limited range, each chroma sample for its 2 x 2 pixels), because FFmpeg's own
conversion rounds down: it is up to 3 levels off.

    pip install av numpy
    python tests/parity/video.py "$INTAKT_DATA"
"""

import sys

import av
import numpy as np

video = av.open(f"{sys.argv[1]}/video/bottle-detection.mp4")
for n, frame in enumerate(video.decode(video=0)):
    if n in (0, 1, 400, 1188):
        planes = frame.to_ndarray(format="yuv420p").reshape(-1).astype(float)
        w, h = frame.width, frame.height
        y, u, v = np.split(planes, [w * h, w * h * 5 // 4])
        y = (y.reshape(h, w) - 16) * 255 / 219
        u, v = ((p.reshape(h // 2, w // 2).repeat(2, 0).repeat(2, 1) - 128) * 255 / 224 for p in (u, v))
        rgb = np.stack([y + 1.402 * v, y - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587, y + 1.772 * u], axis=2)
        print(n, int(frame.pts * frame.time_base * 1_000_000), rgb.round().clip(0, 255).mean(axis=(0, 1)).round(6))
print("frames:", n + 1)
