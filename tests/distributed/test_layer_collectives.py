"""Layers with state inside `shard_map`: they send what batch norm sends, and nothing twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from examples.distributed.collectives import Collective, collectives_in
from inox import calibration
from inox.nn import BatchNorm, BatchRenorm, export_state
from tests.distributed.ways import CHANNELS, DEVICES, ROWS

FLOAT32 = 4
LAYERS = {
    "batch": lambda **k: BatchNorm(CHANNELS, warmup=True, **k),
    "batch_renorm": lambda **k: BatchRenorm(
        CHANNELS, jnp.float32(1e-3), r_max=jnp.float32(2.0), steps=2, **k
    ),
}


def program(name: str, pooling: bool, masked: bool, backward: bool) -> str:
    """The text of a compiled training step of one layer on eight devices."""
    layer, state = export_state(
        LAYERS[name](scale=jnp.ones(CHANNELS), bias=jnp.zeros(CHANNELS), axis_name="rows")
    )
    if pooling:
        layer, state = calibration.accumulate(layer, state)
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,))

    def forward(layer, x, where, state):
        def part(x, where, layer, state):
            return layer(x, state, where=where if masked else None)

        return jax.shard_map(
            part, mesh=mesh, in_specs=(P("rows"), P("rows"), P(), P()), out_specs=(P("rows"), P())
        )(x, where, layer, state)

    def both(layer, x, where, state):
        y, pullback, after = jax.vjp(
            lambda layer, x: forward(layer, x, where, state), layer, x, has_aux=True
        )
        return y, after, pullback(x)

    x = np.zeros((DEVICES * ROWS, CHANNELS), np.float32)
    where = np.ones((DEVICES * ROWS, 1), bool)
    step = jax.jit(both if backward else forward)
    return step.lower(layer, x, where, state).compile().as_text()


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])
@pytest.mark.parametrize("pooling", [False, True], ids=["training", "accumulating"])
@pytest.mark.parametrize("name", LAYERS)
def test_one_forward_and_one_backward(name, pooling, masked, backward):
    """A gather of four numbers a channel and device (masked: five), and a sum of four a channel.

    As the function has them: the state is made of the moments that normalize, the correction of
    batch renorm too, and pooling takes the low half of the mean from there.
    """
    found = collectives_in(program(name, pooling, masked, backward))
    expected = [Collective("all-gather", FLOAT32 * (4 + masked) * DEVICES * CHANNELS)]
    if backward:
        expected.append(Collective("all-reduce", FLOAT32 * 4 * CHANNELS))
    assert found == expected
