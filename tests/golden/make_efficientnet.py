"""Writes efficientnet.json: what EfficientNet-Lite0 makes of images, with random weights.

    python tests/golden/make_efficientnet.py

in an environment with torch and the efficientnet-lite-pytorch package, whose names of tensors are
those of the weight file. All is in float64. Each 40th feature and logit is written.
"""

from pathlib import Path

import torch
import weights
import writing
from efficientnet_lite_pytorch import EfficientNet


def main():
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    of = {
        name: list(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    tensors = {name: torch.tensor(each) for name, each in weights.tensors(of).items()}
    network.load_state_dict(tensors, strict=False)
    network.double()
    images = torch.tensor(weights.images(2, 224)).double().permute(0, 3, 1, 2)
    with torch.no_grad():
        images = (images - 127) / 128
        features, logits = network.extract_features(images).mean((2, 3)), network(images)
    numbers = {
        "about": f"written by make_efficientnet.py with torch {torch.__version__.split('+')[0]}",
        "shapes": of,
        "features": features[:, ::40],
        "logits": logits[:, ::40],
    }
    writing.write(Path(__file__).with_name("efficientnet.json"), numbers)


if __name__ == "__main__":
    main()
