"""TFDS builders: each prepares one data set of this room as ArrayRecord, without TensorFlow.

`FashionMnistMini` is the balanced part of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017,
https://arxiv.org/abs/1708.07747) that lies beside this file: of each of the ten classes the first
1,000 training and the first 200 test images, in file order. To make it again:

    python -m jaxgan.data.builders --source FOLDER_OF_THE_FOUR_IDX_FILES --out FOLDER_TO_MAKE

The files are the same, byte for byte, as those in the repository (array_record 0.8.6). For this
the images are PNGs whose bytes do not depend on the zlib at hand, where TFDS would leave the
encoding to Pillow; the compression is left to the zstd inside array_record.
"""

import argparse
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from jaxgan.data.idx import load_idx
from jaxgan.errors import UserError
from jaxgan.typing import UInt8

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# TFDS writes it into the prepared folder as the file LICENSE.
LICENSE = """The MIT License (MIT)

Copyright © 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def encode_png(image: UInt8[np.ndarray, "h w"]) -> bytes:
    """A greyscale image as PNG: Paeth-filtered rows in one stored (uncompressed) deflate block.

    Deflate libraries, and releases of one, compress differently; a stored block leaves them no
    choice. It holds at most 65,535 bytes, so h * (w + 1) must not be more; struct.error is raised
    if it is. Source: https://www.w3.org/TR/png-3, sections 9 and 10.
    """
    height, width = image.shape
    padded = np.pad(image.astype(np.int16), ((1, 0), (1, 0)))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    # The prediction is the neighbour nearest to left + above - corner; of equals, the first.
    neighbours = np.stack([left, above, corner])
    nearest = np.argmin(abs(neighbours - (left + above - corner)), axis=0)
    paeth = np.take_along_axis(neighbours, nearest[None], axis=0)[0]
    residuals = (image - paeth).astype(np.uint8)
    rows = np.pad(residuals, ((0, 0), (1, 0)), constant_values=4).tobytes()  # 4 names Paeth
    stored = struct.pack("<BHH", 1, len(rows), 0xFFFF - len(rows)) + rows
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


class ReproducibleWriter(tfds.core.ExampleWriter):
    """Writes the same bytes in every process, and compresses 16 records together.

    Groups make 5.4 MB of what would be 7.3 MB one by one. array_record logs, whenever it opens
    such a file, that groups are slow to read at random: this set is read at once, in order.
    """

    def write(self, path: os.PathLike, examples: Iterable[tuple[object, bytes]]) -> None:
        writer = array_record_module.ArrayRecordWriter(str(path), "group_size:16,zstd:12")
        for _, example in examples:
            # Protobuf orders an example's features by a hash that changes from process to process.
            message = tf_example_pb2.Example.FromString(example)
            writer.write(message.SerializeToString(deterministic=True))
        writer.close()


class FashionMnistMini(tfds.core.GeneratorBasedBuilder):
    """Fashion-MNIST's first 1,000 training and 200 test images of each class: 28 x 28, grey.

    `source` is the folder with the four IDX files, gzipped or not.
    """

    VERSION = tfds.core.Version("1.0.0")
    # It is written into dataset_info.json, and would be "__main__" under `python -m`.
    __module__ = "jaxgan.data.builders"

    def __init__(self, source: Path, **kwargs):
        self.source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(28, 28, 1), dtype=np.uint8, encoding_format="png")
        label = tfds.features.ClassLabel(names=CLASS_NAMES)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Fashion-MNIST's first 1,000 training and 200 test images of each class.",
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            license=LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {
            "train": self._generate_examples("train", per_class=1000),
            "test": self._generate_examples("test", per_class=200),
        }

    def _generate_examples(self, split: str, per_class: int) -> Iterator[tuple[int, dict]]:
        images, labels = load_idx(self.source, split)
        chosen = [np.flatnonzero(labels == c)[:per_class] for c in range(len(CLASS_NAMES))]
        if images.shape[1:] != (28, 28, 1) or min(map(len, chosen)) < per_class:
            raise UserError(
                f"{self.source}: the {split} files are not Fashion-MNIST's: there should be images "
                f"of 28 x 28 pixels, at least {per_class} of each class"
            )
        for i in np.sort(np.concatenate(chosen)):
            yield int(i), {"image": encode_png(images[i, ..., 0]), "label": int(labels[i])}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return ReproducibleWriter(self.info.file_format)


def prepare(source: Path, out: Path) -> None:
    """Prepares FashionMnistMini from the IDX files in `source` as the new folder `out`.

    Raises UserError where a file of the source is missing or wrong, or `out` exists.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists; name a folder that does not")
    out.parent.mkdir(parents=True, exist_ok=True)
    # TFDS leaves other folders beside the prepared one, and parts of it when it fails.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.") as temporary:
        builder = FashionMnistMini(source, data_dir=temporary, file_format="array_record")
        builder.download_and_prepare()
        os.rename(builder.data_dir, out)


def main() -> None:
    """The command line: `--source FOLDER --out FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m jaxgan.data.builders")
    parser.add_argument("--source", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args()
    tfds.disable_progress_bar()
    try:
        prepare(args.source, args.out)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(f"Moved to {args.out}")


if __name__ == "__main__":
    main()
