"""Writes inception.json: what torch-fidelity's InceptionV3 makes of images, with random weights.

    python tests/golden/make_inception.py

in an environment with torch and torch-fidelity, whose names of tensors are those of the weight
file. All is in float64, the resizing of images of 32 pixels too. Each 40th feature and logit is
written.
"""

import tempfile
from pathlib import Path

import torch
import weights
import writing
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

FEATURES = ["2048", "logits_unbiased"]


class Extractor(FeatureExtractorInceptionV3):
    """Without the weights that the original downloads."""

    def load_state_dict(self, state):
        self.of = {
            name: list(tensor.shape)
            for name, tensor in self.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        tensors = {name: torch.tensor(each) for name, each in weights.tensors(self.of).items()}
        super().load_state_dict(tensors, strict=False)


def main():
    with tempfile.NamedTemporaryFile() as file:  # one must be named, and is read
        torch.save({}, file.name)
        network = Extractor("inception", FEATURES, file.name)
    network.double()
    # torch-fidelity 0.4 has float32 under the name of float64.
    network.feature_extractor_internal_dtype = torch.float64
    images = torch.tensor(weights.images(2, 32)).round().to(torch.uint8)
    features, logits = network(images.permute(0, 3, 1, 2))
    numbers = {
        "about": f"written by make_inception.py with torch {torch.__version__.split('+')[0]}",
        "shapes": network.of,
        "features": features[:, ::40],
        "logits": logits[:, ::40],
    }
    writing.write(Path(__file__).with_name("inception.json"), numbers)


if __name__ == "__main__":
    main()
