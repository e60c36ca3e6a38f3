"""Arrays sharded over eight devices under plain `jit`: the same values and gradients as on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from inox import functional
from tests.functional.closeness import assert_all_close
from tests.functional.programs import check_gradients, quick_jit
from tests.functional.setting import Setting
from tests.layouts import Layout
from tests.registry import OPERATIONS

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
DEVICES = 8


def sharded_setting(operation, masked):
    """The operation on sixteen rows of its first layout."""
    layout = operation.layouts[0]
    rows = Layout((16, *layout.shape[1:]), layout.static, layout.parameter)
    return Setting(operation, masked, layout=rows)


def test_there_are_eight_devices():
    """The tests below mean nothing on fewer."""
    assert len(jax.devices()) >= DEVICES


@EACH
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_rows_sharded_by_the_compiler(operation, masked):
    """Auto axes: x and the mask are split by rows, parameters are on every device."""
    setting = sharded_setting(operation, masked)
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,))
    rows, everywhere = NamedSharding(mesh, P("rows")), NamedSharding(mesh, P())
    arrays = {
        name: jax.device_put(array, rows if name == "x" else everywhere)
        for name, array in setting.arrays.items()
    }
    if masked:
        setting.where = jax.device_put(setting.where, rows)

    @quick_jit
    def program(arrays, cotangents):
        values, pullback = jax.vjp(setting.call, arrays)
        return values, pullback(cotangents)[0]

    values, gradients = program(arrays, setting.cotangents)
    assert len(gradients["x"].sharding.device_set) == DEVICES
    assert_all_close(values, setting.exact)
    where = None if setting.where is None else np.asarray(setting.where)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents, where)


# How x is split in its type; everything else is whole on every device.
SPLITS = {
    "rows": ((DEVICES,), ("rows",), ("rows",)),
    "rows and channels": ((4, 2), ("rows", "channels"), ("rows", "channels")),
    "rows over two axes": ((4, 2), ("rows", "more"), (("rows", "more"),)),
    "channels": ((4, 2), ("rest", "channels"), (None, "channels")),
}


# The registry's merge_moments slices single rows, which JAX refuses where rows are sharded by type.
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize(
    "operation", [one for one in OPERATIONS if one.name != "merge_moments"], ids=str
)
def test_sharded_in_the_types(operation, masked, split):
    """Explicit axes: shardings are part of the types, and a gradient has that of its array.

    Parameters, statistics and the mask are not split, where JAX's own operations refuse the mix.
    """
    setting = sharded_setting(operation, masked)
    shape, names, (first, *last) = SPLITS[split]
    mesh = jax.make_mesh(shape, names, axis_types=(AxisType.Explicit,) * len(names))
    spec = P(first, *(None,) * (setting.arrays["x"].ndim - 1 - len(last)), *last)
    with jax.set_mesh(mesh):
        arrays = {
            name: jax.device_put(jnp.asarray(array), spec if name == "x" else P())
            for name, array in setting.arrays.items()
        }
        types = jax.eval_shape(setting.call, arrays)
        cotangents = {
            name: jax.device_put(jnp.asarray(c), types[name].sharding.spec)
            for name, c in setting.cotangents.items()
        }

        @quick_jit
        def program(arrays, cotangents):
            values, pullback = jax.vjp(setting.call, arrays)
            return values, pullback(cotangents)[0]

        values, gradients = program(arrays, cotangents)
    assert gradients["x"].sharding.spec == spec
    if "y" in values:
        assert values["y"].sharding.spec == spec
    assert_all_close(values, setting.exact)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents, setting.where)


@EACH
def test_channels_and_rows_sharded(operation):
    """A two-dimensional mesh that splits the reduced axis too, by the compiler."""
    setting = sharded_setting(operation, masked=False)
    mesh = jax.make_mesh((4, 2), ("rows", "channels"), axis_types=(AxisType.Auto,) * 2)
    spec = P("rows", *(None,) * (setting.arrays["x"].ndim - 2), "channels")

    def place(array):
        if array.ndim == setting.arrays["x"].ndim:
            entries = (None if n == 1 else e for n, e in zip(array.shape, spec, strict=True))
            return jax.device_put(array, NamedSharding(mesh, P(*entries)))
        return jax.device_put(array, NamedSharding(mesh, P("channels") if array.ndim else P()))

    arrays = {name: place(array) for name, array in setting.arrays.items()}

    @quick_jit
    def program(arrays, cotangents):
        values, pullback = jax.vjp(setting.call, arrays)
        return values, pullback(cotangents)[0]

    values, gradients = program(arrays, setting.cotangents)
    assert_all_close(values, setting.exact)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents)


def test_rows_that_the_devices_do_not_divide():
    """Eleven rows on eight devices: padding that the partitioner adds enters no sum."""
    operation = OPERATIONS[3]
    layout = Layout((11, 4))
    setting = Setting(operation, layout=layout)
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,))

    @quick_jit
    def program(arrays, cotangents):
        x = jax.lax.with_sharding_constraint(arrays["x"], NamedSharding(mesh, P("rows")))
        values, pullback = jax.vjp(setting.call, arrays | {"x": x})
        return values, pullback(cotangents)[0]

    values, gradients = program(setting.arrays, setting.cotangents)
    assert_all_close(values, setting.exact)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents)


def test_arrays_made_outside_of_the_mesh():
    """x, scale or mask from before the mesh beside one that is split: as in `x * scale`."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8)), jnp.float32)
    scale, where = jnp.arange(1.0, 9.0), x > -1
    split = jax.device_put(scale, NamedSharding(mesh, P("d")))
    split_mask = jax.device_put(where, NamedSharding(mesh, P("d")))
    split_x = jax.device_put(x, NamedSharding(mesh, P(None, "d")))
    for function in (functional.layer_norm, functional.batch_norm, functional.rms_norm):
        for given in ((x, split), (split_x, scale), (split_x, split)):
            expected = jax.tree.leaves(function(x, scale))[0]
            np.testing.assert_allclose(
                jax.tree.leaves(function(*given))[0], expected, rtol=1e-5, atol=1e-6
            )
        masked = jax.tree.leaves(function(x, where=split_mask))[0]
        np.testing.assert_allclose(
            masked, jax.tree.leaves(function(x, where=where))[0], rtol=1e-5, atol=1e-6
        )
