"""How private a run is: (epsilon, delta) of DP-SGD, by Google's accountant library.

The accountant presumes that each update draws its minibatch afresh, each example with the same
probability (Poisson sampling). Here minibatches are parts of permutations of the data, as in nearly
all code, for which no bound this good is known; the figure is the usual one, with that departure.
"""

import functools

from jaxgan.errors import UserError


@functools.cache
def epsilon(noise: float, share: float, updates: int, delta: float) -> float:
    """Of `updates` with that noise multiplier, which each see that share of the examples; two sets
    of data are neighbours if one has an example more. By Rényi divergences (Mironov 2017).

    Raises UserError where the library is missing.
    """
    try:
        import dp_accounting  # here: few runs are private
        from dp_accounting.rdp import RdpAccountant
    except ImportError as error:
        raise UserError(
            'privacy.noise: epsilon is computed by a library: pip install "jaxgan[privacy]"'
        ) from error
    update = dp_accounting.PoissonSampledDpEvent(share, dp_accounting.GaussianDpEvent(noise))
    accountant = RdpAccountant()
    accountant.compose(dp_accounting.SelfComposedDpEvent(update, updates))
    return float(accountant.get_epsilon(delta))
