"""JAX's own transformations on every layer, against the float64 NumPy formula."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
from layer_cases import (
    RESIDUAL,
    SCALE,
    assert_close,
    assert_same_bits,
    call,
    each_layer,
    example,
    exported,
    numerical_gradient,
    run,
)


@each_layer
def test_eager_and_jitted_calls_equal_the_formula(case):
    """Called eagerly and as an argument of `jax.jit`, the layer gives the formula's numbers."""
    layer, state = case.exported()
    x = example()
    eager, eager_state = call(layer, state, x)
    jitted, jitted_state = jax.jit(call)(layer, state, x)
    assert_close(eager, case.expected(x))
    assert_close(jitted, case.expected(x))
    assert eager.dtype == jitted.dtype == x.dtype
    if "residual" in state:
        assert_close(eager_state["residual"], x + RESIDUAL, 1)
    assert jax.tree.structure(jitted_state) == jax.tree.structure(eager_state)
    for one, other in zip(jax.tree.leaves(jitted_state), jax.tree.leaves(eager_state), strict=True):
        assert_close(one, other, 2)


@each_layer
def test_gradient_by_input_and_by_layer_equals_the_formula(case):
    """`jax.grad` by x and by the layer equals the NumPy formula's derivative."""
    layer, state = case.exported()
    x, weight = example(), example(1)

    @jax.jit
    def gradients(layer, x):
        return jax.grad(lambda layer, x: jnp.sum(call(layer, state, x)[0] * weight), (0, 1))(
            layer, x
        )

    by_layer, by_x = gradients(layer, x)
    expected = numerical_gradient(lambda x: float((case.expected(x) * weight).sum()), x)
    # The gradient is a difference of terms of order one, which may leave little.
    assert_close(by_x, expected, 64, floor=1.0)
    assert type(by_layer) is type(layer)
    for name in case.parameters:
        per_position = weight.astype(np.float64)
        if name == "scale":
            affine_off = case.expected(x) - (
                np.asarray(layer.bias.value) if "bias" in case.parameters else 0
            )
            per_position = per_position * affine_off / SCALE
        assert_close(getattr(by_layer, name).value, per_position.reshape(-1, 4).sum(0), 64)


@each_layer
def test_vmap_over_inputs_equals_a_loop(case):
    """`jax.vmap` over a leading axis of x gives each input's own output and state."""
    layer, state = case.exported()
    batches = np.stack([example(seed) for seed in range(3)])
    outputs, states = jax.jit(jax.vmap(call, (None, None, 0)))(layer, state, batches)
    for index, x in enumerate(batches):
        assert_close(outputs[index], case.expected(x))
        alone = jax.tree.leaves(run(layer, state, x)[1])
        for one, other in zip(jax.tree.leaves(states), alone, strict=True):
            assert_close(one[index], other, 2)


@each_layer
def test_vmap_over_stacked_layers_equals_a_loop(case):
    """Layers stacked by `jax.tree.map` and vmapped answer each with its own parameters."""
    members = []
    for factor in (1.0, 0.5, -2.0):
        layer, state = case.exported()
        members.append((jax.tree.map(lambda leaf, factor=factor: leaf * abs(factor), layer), state))
    layers, states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    x = example()
    together, together_states = jax.jit(jax.vmap(call, (0, 0, None), axis_size=3))(
        layers, states, x
    )
    for index, (layer, state) in enumerate(members):
        alone, alone_state = run(layer, state, x)
        assert_close(together[index], alone, 2)
        for one, other in zip(
            jax.tree.leaves(together_states), jax.tree.leaves(alone_state), strict=True
        ):
            assert_close(one[index], other, 2)


@each_layer
def test_tree_map_rebuilds_a_layer_that_answers_the_same(case):
    """`jax.tree.map` with the identity gives an equal structure and the same bits out."""
    layer, state = case.exported()
    rebuilt = jax.tree.map(lambda leaf: leaf, layer)
    assert type(rebuilt) is type(layer)
    assert rebuilt is not layer
    assert_same_bits(rebuilt, layer)
    x = example()
    assert_same_bits(run(rebuilt, state, x), run(layer, state, x))


@each_layer
def test_tree_map_reaches_scale_and_bias_by_path(case):
    """The leaves lie at `.scale.value` and `.bias.value`; doubling them doubles the output."""
    layer, state = case.exported()
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(layer)}
    assert {f".{name}.value" for name in case.parameters} == paths - {".epsilon", ".momentum"}
    if not case.parameters:
        return
    doubled = jax.tree.map(lambda leaf: leaf * 2, layer)
    x = example()
    assert_close(run(doubled, state, x)[0], 2 * case.expected(x))


@each_layer
def test_scan_over_stacked_layers_equals_a_loop(case):
    """`lax.scan` runs a stack of layers one after the other; the state travels in the carry."""
    members = []
    for factor in (1.0, 0.5):
        layer, state = case.exported()
        members.append(jax.tree.map(lambda leaf, factor=factor: leaf * factor, layer))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    @jax.jit
    def scanned(stacked, x, state):
        return jax.lax.scan(
            lambda carry, layer: (call(layer, carry[1], carry[0]), None), (x, state), stacked, 2
        )[0]

    x = jnp.asarray(example())
    found, found_state = scanned(stacked, x, state)
    expected = x
    for layer in members:
        expected, state = run(layer, state, expected)
    assert_close(found, expected, 16)
    for one, other in zip(jax.tree.leaves(found_state), jax.tree.leaves(state), strict=True):
        assert_close(one, other, 16)


@each_layer
def test_checkpoint_changes_no_number(case):
    """Rematerialized, the layer gives the same value, the same gradient and one state update."""
    layer, state = case.exported()
    x, weight = example(), example(1)

    def derivative(function):
        def loss(x):
            y, updated = function(layer, state, x)
            return jnp.sum(y * weight), updated

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(x)

    (value, updated), gradient = derivative(call)
    (value_again, updated_again), gradient_again = derivative(jax.checkpoint(call))
    assert_close(value_again, value, 64)
    assert_close(gradient_again, gradient, 16)
    for one, other in zip(jax.tree.leaves(updated_again), jax.tree.leaves(updated), strict=True):
        assert_close(one, other, 2)


@each_layer
def test_eval_shape_predicts_the_call_and_the_construction(case):
    """`jax.eval_shape` foretells output, state and the built layer without computing."""
    layer, state = case.exported()
    x = example()
    predicted = jax.eval_shape(call, layer, state, x)
    found = run(layer, state, x)
    assert jax.tree.structure(predicted) == jax.tree.structure(found)
    for one, other in zip(jax.tree.leaves(predicted), jax.tree.leaves(found), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    abstract, abstract_state = jax.eval_shape(case.exported)
    assert jax.tree.structure(abstract) == jax.tree.structure(layer)
    filled = jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(layer))
    assert jax.tree.structure(abstract_state) == jax.tree.structure(state)
    assert_same_bits(run(filled, state, x), found)


@each_layer
def test_pickle_brings_a_layer_and_its_state_back(case):
    """A pickled layer and state come back with the same structure, bits and answers."""
    layer, state = case.exported()
    x = example()
    _, state = run(layer, state, x)
    again, state_again = pickle.loads(pickle.dumps((layer, state)))
    assert_same_bits((again, state_again), (layer, state))
    assert_same_bits(run(again, state_again, x), run(layer, state, x))
    again.epsilon = 0.5
    assert layer.epsilon != 0.5


@each_layer
def test_pickle_before_export_brings_the_layer_back(case):
    """A layer pickled before its state was exported can be exported after."""
    again = jax.tree.map(lambda leaf: leaf, pickle.loads(pickle.dumps(case.build())))
    again, state_again = exported(again)
    assert_close(run(again, state_again, example())[0], case.expected(example()))


@each_layer
def test_deepcopy_is_independent(case):
    """Changing a deep copy's mode or parameters leaves the original as it was."""
    layer, state = case.exported()
    x = example()
    before = run(layer, state, x)
    twin = copy.deepcopy(layer)
    assert_same_bits(twin, layer)
    twin.epsilon = 0.5
    for name in case.parameters:
        getattr(twin, name).value = jnp.zeros(4)
    assert_same_bits(run(layer, state, x), before)
    assert_close(run(copy.copy(layer), state, x)[0], before[0], 0)


@each_layer
def test_configuration_is_static(case):
    """Layers built alike have equal, hashable structures; another epsilon is another one."""
    one, other = case.build(), case.build()
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(other))
    other.epsilon = 0.123
    assert jax.tree.structure(one) != jax.tree.structure(other)


@each_layer
def test_layers_hold_no_leaf_but_arrays(case):
    """Numbers, strings, None and modes of the configuration are no leaves."""
    layer, _ = case.exported()
    for leaf in jax.tree.leaves(layer):
        assert isinstance(leaf, jax.Array)
        assert np.issubdtype(leaf.dtype, np.floating)
