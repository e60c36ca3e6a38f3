"""One network whose layers live inside other frameworks' modules and in plain containers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from inox.nn import BatchNorm, GroupNorm, Module, Parameter

KERNEL = (np.random.default_rng(1).standard_normal((4, 4)) / 2).astype(np.float32)


def batch_norm():
    return BatchNorm(4, momentum=0.5, scale=jnp.ones(4), bias=jnp.zeros(4))


def group_norm():
    return GroupNorm(2, scale=jnp.ones(4), bias=jnp.zeros(4))


def apply(kernel, batch, group, x, state):
    """The network of all tests: a batch norm on the input, a linear map, a group norm."""
    x, state = batch(x, state)
    return group(x @ kernel), state


def inside_equinox(peer):
    eqx = peer("equinox")

    class Network(eqx.Module):
        kernel: jax.Array
        batch: BatchNorm
        group: GroupNorm
        name: str = eqx.field(static=True, default="network")

        def __call__(self, x, state):
            return apply(self.kernel, self.batch, self.group, x, state)

    return SimpleNamespace(
        model=Network(jnp.asarray(KERNEL), batch_norm(), group_norm()),
        kind=Network,
        batch=lambda model: model.batch,
        key=".batch.stats",
    )


def inside_nnx(peer):
    nnx = peer("flax.nnx")

    class Network(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.asarray(KERNEL))
            self.batch = nnx.data(batch_norm())
            self.blocks = nnx.List([nnx.data(group_norm())])

        def __call__(self, x, state):
            return apply(self.kernel[...], self.batch, self.blocks[0], x, state)

    return SimpleNamespace(
        model=Network(),
        kind=Network,
        batch=lambda model: model.batch,
        key=".batch.stats",
    )


def inside_dict(peer):
    return SimpleNamespace(
        model={
            "kernel": jnp.asarray(KERNEL),
            "norms": {"batch": batch_norm(), "group": group_norm()},
        },
        kind=dict,
        batch=lambda model: model["norms"]["batch"],
        call=lambda model, x, state: apply(
            model["kernel"], model["norms"]["batch"], model["norms"]["group"], x, state
        ),
        key="['norms']['batch'].stats",
    )


def inside_list(peer):
    return SimpleNamespace(
        model=[batch_norm(), jnp.asarray(KERNEL), [group_norm()]],
        kind=list,
        batch=lambda model: model[0],
        call=lambda model, x, state: apply(model[1], model[0], model[2][0], x, state),
        key="[0].stats",
    )


def inside_inox(peer):
    class Network(Module):
        def __init__(self):
            self.kernel = Parameter(jnp.asarray(KERNEL))
            self.norms = (batch_norm(), group_norm())

        def __call__(self, x, state):
            return apply(self.kernel(), *self.norms, x, state)

    return SimpleNamespace(
        model=Network(),
        kind=Network,
        batch=lambda model: model.norms[0],
        key=".norms[0].stats",
    )


HOMES = {
    "equinox": inside_equinox,
    "nnx": inside_nnx,
    "dict": inside_dict,
    "list": inside_list,
    "inox": inside_inox,
}
