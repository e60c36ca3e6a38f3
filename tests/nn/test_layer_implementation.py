"""Every layer takes `implementation`, and what carries it out is what it says."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from layer_cases import CASES, assert_close, call, example, exported

from examples.distributed.collectives import kernels_in
from inox.kernels.cpu.library import library
from inox.nn import BatchNorm, export_state

needs_kernels = pytest.mark.skipif(not library().available, reason=str(library().reason))
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def with_implementation(case, implementation):
    """The layer of a case, built with the keyword: its other arguments are read back from it."""
    layer = case.build()
    shared = ("channels", "epsilon", "momentum", "scale", "bias")
    names = {
        "BatchNorm": (*shared, "warmup", "virtual_batch", "channel_axis"),
        "BatchRenorm": (*shared, "steps"),
        "LayerNorm": ("axis", "epsilon", "scale", "bias"),
        "InstanceNorm": ("axis", "epsilon", "scale", "bias"),
        "GroupNorm": ("groups", "axis", "center", "epsilon", "scale", "bias"),
        "RMSNorm": ("axis", "epsilon", "scale"),
        "AddLayerNorm": ("axis", "epsilon", "scale", "bias"),
        "AddRMSNorm": ("axis", "epsilon", "scale"),
    }[type(layer).__name__]
    arguments = {name: getattr(layer, name) for name in names}
    return exported(type(layer)(**arguments, implementation=implementation))


def kernels_of(layer, state):
    """The kernels that forward and backward pass call, compiled for the CPU."""

    def loss(layer, x):
        return jnp.sum(call(layer, state, x)[0] ** 2)

    x = jnp.asarray(example())
    return kernels_in(jax.jit(jax.grad(loss, (0, 1))).lower(layer, x).compile().as_text())


@each
def test_all_implementations_give_the_same(case):
    """The numbers are the formula's, whichever is named; the attribute says which."""
    for implementation in (None, "xla", "cpu") if library().available else (None, "xla"):
        layer, state = with_implementation(case, implementation)
        assert layer.implementation == implementation
        assert_close(call(layer, state, example())[0], case.expected(example()))


@needs_kernels
@each
def test_a_layer_is_carried_out_by_what_it_names(case):
    """With "xla" it calls no compiled kernel, with "cpu" it does; another one compiles anew."""
    by_xla, state = with_implementation(case, "xla")
    by_kernels, _ = with_implementation(case, "cpu")
    assert not kernels_of(by_xla, state)
    assert kernels_of(by_kernels, state)
    assert jax.tree.structure(by_xla) != jax.tree.structure(by_kernels)


def test_it_is_passed_on_in_evaluation_mode():
    """A wrong name set past the constructor shows at the call, in both modes."""
    layer, state = export_state(BatchNorm(4))
    layer.implementation = "gpu"
    for training in (True, False):
        with pytest.raises(ValueError, match="'gpu'"):
            layer(example(), state, training=training)


SWITCHED_OFF = """
import numpy as np
from inox.nn import *

x = np.ones((2, 3, 4), np.float32)
for cls, first in ((BatchNorm, (4,)), (BatchRenorm, (4,)), (LayerNorm, ()), (GroupNorm, (2,)),
                   (RMSNorm, ()), (InstanceNorm, ())):
    layer, state = export_state(cls(*first, implementation="cpu"))
    arguments = (x, state) if state else (x,)
    try:
        layer(*arguments)
    except ValueError as error:
        assert all(word in str(error) for word in ("'cpu'", "INOX_KERNELS=off", "'xla'")), error
    else:
        raise AssertionError("no error")
    layer.implementation = None
    layer(*arguments)
"""


def test_a_layer_is_built_where_its_implementation_is_not():
    """Whether kernels are there is asked at the call: a model is built anywhere."""
    run = subprocess.run(
        [sys.executable, "-c", SWITCHED_OFF],
        env=os.environ | {"INOX_KERNELS": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
