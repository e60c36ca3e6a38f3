"""Batch statistics over microbatches, data sets and copies of a network.

- :func:`accumulate` and :func:`commit`: k microbatches, one running update.
- :func:`recalibrate`: the statistics of a whole data set, in one pass.
- :func:`drift`: how far the running statistics are from those of some data.
- :func:`merge_states`: the running statistics of several copies of a network, pooled.

>>> import jax, inox.nn as nn
>>> model, state = nn.export_state(nn.BatchNorm(2))
>>> batches = [jax.numpy.array([[1.0, 2.0], [3.0, 4.0]]), jax.numpy.array([[5.0, 6.0]])]
>>> state = recalibrate(lambda model, state, x: model(x, state)[1], model, state, batches)
>>> print(state[model.stats].mean)
[3. 4.]
"""

from .accumulation import accumulate, commit
from .drifting import Drift, LayerDrift, drift
from .merging import merge_states
from .recalibration import recalibrate

__all__ = [
    "Drift",
    "LayerDrift",
    "accumulate",
    "commit",
    "drift",
    "merge_states",
    "recalibrate",
]
