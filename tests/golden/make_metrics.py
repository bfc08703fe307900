"""Writes metrics.json: what others' libraries make of the features that this script draws.

    pip install torch-fidelity==0.4.0 clean-fid==0.1.35 prdc==0.2
    python tests/golden/make_metrics.py

In float64 where the library lets one choose. Precision and recall of torch-fidelity count what lies
on the rim of a ball as inside, those of prdc as outside; here nothing does.
"""

import json
from pathlib import Path

import features
import torch
from cleanfid.fid import frechet_distance, kernel_distance
from prdc import compute_prdc
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full


def frechet_distances(real, fake):
    tensors = [torch.from_numpy(each) for each in (real, fake)]
    statistics = [fid_features_to_statistics(each) for each in tensors]
    of_fidelity = fid_statistics_to_metric(*statistics, verbose=False)
    moments = [(each["mu"], each["sigma"]) for each in statistics]
    return {
        "torch-fidelity": of_fidelity["frechet_inception_distance"],
        "clean-fid": float(frechet_distance(*moments[0], *moments[1])),
    }


def kernel_distances(real, fake):
    """Of all features, so that no library's choice of subsets counts."""
    n = len(real)
    of_fidelity = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(fake),
        kid_subsets=1,
        kid_subset_size=n,
        verbose=False,
    )
    of_clean = kernel_distance(real, fake, num_subsets=1, max_subset_size=n)
    return {
        "torch-fidelity": of_fidelity["kernel_inception_distance_mean"],
        "clean-fid": float(of_clean),
    }


def neighbours(real, fake):
    of_fidelity = calculate_precision_recall_full(*map(torch.from_numpy, (fake, real)), 3)
    return {
        "torch-fidelity, k = 3": dict(zip(("precision", "recall"), of_fidelity, strict=True)),
        "prdc, k = 3": compute_prdc(real, fake, 3),
        "prdc, k = 5": compute_prdc(real, fake, 5),
    }


def main():
    real, fake, logits = features.draw()
    score = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    few = slice(0, features.FEW)  # fewer than dimensions
    found = {
        "frechet": frechet_distances(real, fake),
        "frechet of few": frechet_distances(real[few], fake[few]),
        "kernel": kernel_distances(real, fake),
        "neighbours": neighbours(real, fake),
        "score": {
            "torch-fidelity": score["inception_score_mean"],
            "of the splits": score["inception_score_std"],
        },
    }
    text = json.dumps(found, indent=2, default=float)
    Path(__file__).with_name("metrics.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
