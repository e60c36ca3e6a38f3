"""What the entries of a state are, where no model is there to tell: by their containers and keys.

A batch norm exports its attributes `stats` and, where it counts batches, `batches`, so these names
end the keys.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..nn import Statistics
from ..nn.normalization.containers import read

STATS, BATCHES = ".stats", ".batches"


def statistics_at(key: Any, entry: Any) -> Statistics | None:
    """Running statistics in any container that a layer takes; None for anything else.

    A list or a tuple without names may be a pair of anything: it counts where the key is that of
    statistics.
    """
    named = isinstance(entry, (Mapping, Statistics))
    if not named and not str(key).endswith(STATS):
        return None
    found = read(entry, Statistics)
    if found is None or np.shape(found.mean) != np.shape(found.var):
        return None
    return found


def counts_batches(key: Any, statistics: Any) -> bool:
    """Whether an entry is the number of batches of a layer whose statistics are among these."""
    name = str(key)
    return name.endswith(BATCHES) and name.removesuffix(BATCHES) + STATS in statistics
