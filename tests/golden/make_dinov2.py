"""Writes dinov2.json: features of DINOv2 networks, with random weights, in float64.

    python tests/golden/make_dinov2.py

in an environment with torch and timm. The network is timm's vision transformer for images of 224
pixels, whose names of tensors are those of the weight file; positions are resized before, by
PyTorch's `interpolate` as the authors' code calls it. "tiny" has 2 blocks of 128 channels, "vitl14"
is the one of FD-DINOv2. Each 16th feature is written.
"""

from pathlib import Path

import torch
import weights
import writing
from timm.models.vision_transformer import VisionTransformer

SIZES = {"tiny": (2, 128, 2), "vitl14": (24, 1024, 16)}  # depth, width, heads
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resized(positions):
    """1 1370 d to 1 257 d; the first is the class token's."""
    d = positions.shape[-1]
    grid = positions[:, 1:].reshape(1, 37, 37, d).permute(0, 3, 1, 2)
    scale = (16 + 0.1) / 37
    grid = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, 256, d)], 1)


def features(depth, width, heads, count):
    network = VisionTransformer(
        img_size=224,
        patch_size=14,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        init_values=1e-5,
        num_classes=0,
        global_pool="token",
    ).eval()
    of = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    of |= {"pos_embed": [1, 1370, width], "mask_token": [1, width]}
    tensors = {name: torch.tensor(each).double() for name, each in weights.tensors(of).items()}
    del tensors["mask_token"]
    tensors["pos_embed"] = resized(tensors["pos_embed"])
    network.double().load_state_dict(tensors)
    images = torch.tensor(weights.images(count, 224)).double().permute(0, 3, 1, 2) / 255
    mean, deviation = (torch.tensor(each).double().view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
    with torch.no_grad():
        return {"shapes": of, "features": network((images - mean) / deviation)[:, ::16]}


def main():
    numbers = {
        "about": f"written by make_dinov2.py with torch {torch.__version__.split('+')[0]}",
        "tiny": features(*SIZES["tiny"], count=2),
        "vitl14": features(*SIZES["vitl14"], count=1),
    }
    writing.write(Path(__file__).with_name("dinov2.json"), numbers)


if __name__ == "__main__":
    main()
