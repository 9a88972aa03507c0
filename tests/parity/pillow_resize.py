"""Prints the Pillow numbers that operators/src/imaging/resize/tests.rs holds, and writes the images its decoder tests read.

    python tests/parity/pillow_resize.py            # the numbers
    python tests/parity/pillow_resize.py --images   # rewrites operators/src/imaging/decode/images/*

Written with Pillow 13.0.0.
"""

import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

IMAGES = Path(__file__).resolve().parents[2] / "operators/src/imaging/decode/images"
CASES = [
    # source (width, height), target (width, height)
    ((900, 900), (256, 256)),
    ((448, 448), (256, 256)),
    ((1024, 317), (224, 224)),
    ((37, 53), (19, 23)),
    ((31, 17), (64, 45)),
    ((640, 360), (256, 320)),
    ((1, 1), (8, 5)),
    ((45, 33), (1, 1)),
    ((1, 40), (7, 9)),
    ((4096, 3), (32, 32)),
]
NEAREST_CASES = [(900, 256), (448, 256), (10, 3), (30, 9), (7, 20), (17, 17), (1, 5), (5, 1), (4096, 448), (333, 224)]


def formula_image(width, height):
    """Smooth and noisy parts: noise of 64 levels over two ramps; integers only, so that Rust makes the same bytes."""
    y, x, c = np.meshgrid(
        np.arange(height, dtype=np.uint32), np.arange(width, dtype=np.uint32), np.arange(3, dtype=np.uint32), indexing="ij"
    )
    noise = (((x * 73 + y * 151 + c * 199) * np.uint32(2654435761)) >> np.uint32(26)) & np.uint32(63)
    ramp = (x * (c + 1) * 192 // width // 2 + y * 96 // height) % 192
    return (ramp + noise).astype(np.uint8)


def fnv1a(values):
    h = 0xCBF29CE484222325
    for v in values:
        h = ((h ^ int(v)) * 0x100000001B3) % 2**64
    return h


def print_numbers():
    print(f"// Pillow {PIL.__version__}")
    for source, (width, height) in CASES:
        resized = np.asarray(Image.fromarray(formula_image(*source)).resize((width, height), Image.BILINEAR))
        flat = resized.reshape(-1)
        step = max(1, len(flat) // 47)
        samples = ", ".join(str(v) for v in flat[::step])
        print(f"({source}, {(width, height)}, {int(flat.sum())}, &[{samples}]),")
    for source, target in NEAREST_CASES:
        ramp = np.arange(source, dtype=np.int32).reshape(1, -1)
        indices = np.asarray(Image.fromarray(ramp, mode="I").resize((target, 1), Image.NEAREST)).reshape(-1)
        print(f"({source}, {target}, 0x{fnv1a(indices):016x}),")


def write_images():
    IMAGES.mkdir(exist_ok=True)
    rgb = formula_image(24, 16)
    picture = Image.fromarray(rgb)
    grey16 = Image.fromarray((rgb[:, :, 0].astype(np.uint16) * 16).astype(np.uint16))
    picture.save(IMAGES / "baseline.jpg", quality=85)
    picture.save(IMAGES / "progressive.jpg", quality=85, progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(IMAGES / "turned.jpg", quality=85, exif=exif)
    picture.convert("CMYK").save(IMAGES / "cmyk.jpg", quality=95)
    picture.save(IMAGES / "rgb.png")
    picture.convert("P", palette=Image.ADAPTIVE, colors=16).save(IMAGES / "palette.png")
    picture.convert("L").point(lambda v: 255 * (v > 100)).convert("1").save(IMAGES / "one_bit.png")
    picture.convert("LA").save(IMAGES / "grey_alpha.png")
    grey16.save(IMAGES / "twelve_bit.png")
    picture.save(IMAGES / "rgb.bmp")
    picture.convert("P", palette=Image.ADAPTIVE, colors=16).save(IMAGES / "palette.bmp")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        picture.save(IMAGES / f"{compression}.tif", compression=compression)
    picture.save(IMAGES / "turned.tif", compression="raw", tiffinfo={274: 6})
    picture.convert("L").point(lambda v: 255 * (v > 100)).convert("1").save(IMAGES / "one_bit.tif", compression="raw")
    grey16.save(IMAGES / "twelve_bit.tif", compression="raw")
    Image.fromarray(rgb[:, :, 0].astype(np.float32)).save(IMAGES / "float.tif", compression="raw")
    cmyk = np.asarray(Image.open(IMAGES / "cmyk.jpg").convert("RGB")).astype(int)
    print("// cmyk.jpg as RGB, mean of each channel:", cmyk.reshape(-1, 3).mean(0).round(2).tolist())
    for name in ("baseline.jpg", "progressive.jpg"):
        flat = np.asarray(Image.open(IMAGES / name)).reshape(-1)
        print(f"// {name}, every 23rd sample:", flat[::23].tolist())
    for name in ("turned.jpg", "turned.tif"):
        im = Image.open(IMAGES / name)
        im.load()
        print(f"// {name}: size after load", im.size)


if __name__ == "__main__":
    write_images() if "--images" in sys.argv else print_numbers()
