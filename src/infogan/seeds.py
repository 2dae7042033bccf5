"""One seed for each purpose."""

import numpy as np

# What the seed of a training is used for; each purpose has a stream of its own.
INITIALISATION, LATENT, ORDER, HELD_OUT, DIAGNOSIS, SHEET, CLUSTERING = range(7)


def derive_seed(seed: int, *purpose: int) -> int:
    """A seed for one purpose, independent of those of all others."""
    # The length keeps (2,) and (2, 0) apart, which SeedSequence would not.
    entropy = [seed, len(purpose), *purpose]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
