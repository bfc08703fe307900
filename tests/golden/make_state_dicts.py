"""Writes state_dict.pth and state_dict_legacy.pth, as PyTorch saves a state_dict.

    python tests/golden/make_state_dicts.py

in an environment with torch; jaxgan is not needed. Numbers, types and strides are those that
tests/test_weights.py expects.
"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main():
    grid = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = OrderedDict(
        strided=grid.T[1:3],
        row=torch.nn.Parameter(grid[2]),  # of the same storage
        half=torch.tensor([0.5, -2.0], dtype=torch.float16),
        brain=torch.tensor([1.0, -3.0], dtype=torch.bfloat16),
        count=torch.tensor(7),
    )
    saved = {"epoch": 3, "state_dict": state}
    torch.save(saved, HERE / "state_dict.pth")
    torch.save(saved, HERE / "state_dict_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
