"""The picture of a prepared data set that its maker looks at before training on it."""

import collections
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxgan.typing import UInt8


class ContactSheet:
    """The first pictures of each class, a row a class."""

    COLUMNS, ROWS, TILE, MARGIN = 12, 30, 64, 150

    def __init__(self, class_names: tuple[str, ...]):
        self.class_names = class_names
        self.rows: dict[int, list[Image.Image]] = collections.defaultdict(list)
        self.across = 1  # tiles that a picture takes: 2 where it is a pair

    def add(self, pixels: UInt8[np.ndarray, "h w c"], label: int | None) -> None:
        row, room = label or 0, self.COLUMNS * (1 if self.class_names else self.COLUMNS)
        if row < self.ROWS and len(self.rows[row]) < room:
            image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            self.across = pixels.shape[1] // pixels.shape[0]
            size = self.TILE * self.across, self.TILE
            self.rows[row].append(image.convert("RGB").resize(size))

    def save(self, path: Path) -> None:
        margin = self.MARGIN if self.class_names else 0
        columns = self.COLUMNS // self.across
        tiles = [
            (row, self.rows[label][start : start + columns], label)
            for row, (label, start) in enumerate(
                (label, start)
                for label in sorted(self.rows)
                for start in range(0, len(self.rows[label]), columns)
            )
        ]
        step = self.TILE + 4
        sheet = Image.new("RGB", (margin + self.COLUMNS * step, len(tiles) * step), "white")
        draw = ImageDraw.Draw(sheet)
        for row, pictures, label in tiles:
            if self.class_names:
                draw.text((4, row * step + 24), self.class_names[label][:22], fill="black")
            for column, picture in enumerate(pictures):
                left = margin + column * self.across * step + 2
                sheet.paste(picture, (left, row * step + 2))
        sheet.save(path, format="png")
