"""When static values of two modules are the same, and when they are not."""

import dataclasses
import functools
import gc
import operator
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.nn import Module, Parameter


def leaky(x, slope, *, shift=0.0):
    return jnp.where(x > 0, x, slope * x) + shift


@dataclasses.dataclass(frozen=True)
class Power:
    exponent: int

    def apply(self, x):
        return x**self.exponent


def shared(x):
    return 2 * x


TABLE = {"slope": 0.2}

ALIKE = {
    "partial": lambda: functools.partial(leaky, slope=0.2),
    "partial_positional": lambda: functools.partial(leaky, jnp.float32, 0.2),
    "partial_of_partial": lambda: functools.partial(functools.partial(leaky, slope=0.2), shift=1.0),
    "partial_of_jitted": lambda: functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "partial_nan": lambda: functools.partial(leaky, slope=float("nan")),
    "partial_of_a_table": lambda: functools.partial(leaky, slope=TABLE),
    "bound_method": lambda: Power(3).apply,
    "operator": lambda: operator.methodcaller("sum", axis=0),
    "item": lambda: operator.itemgetter(0, 1),
    "nan": lambda: float("nan"),
    "frozen_dataclass": lambda: Power(2),
    "function": lambda: shared,
    "set": lambda: {"a", "b"},
    "frozenset": lambda: frozenset({"a"}),
    "nested_tuple": lambda: ((1, 2.0), None),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_modules_built_alike_are_compiled_once_and_can_be_stacked(kind):
    """Static values that say the same in three networks give one structure and one trace."""
    members = [Module(f=ALIKE[kind](), inside=[ALIKE[kind](), 0]) for _ in range(3)]
    for number, member in enumerate(members):
        member.weight = Parameter(jnp.full(2, number, jnp.float32))
    traces = []

    @jax.jit
    def run(member):
        traces.append(None)
        return 2 * member.weight()

    for number, member in enumerate(members):
        np.testing.assert_array_equal(run(member), [2 * number] * 2)
    assert len(traces) == 1
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    np.testing.assert_array_equal(stacked.weight(), [[0, 0], [1, 1], [2, 2]])
    assert type(stacked.f) is type(members[0].f)


def closure(slope):
    return lambda x: leaky(x, slope)


DIFFERENT = {
    "argument": (functools.partial(leaky, slope=0.2), functools.partial(leaky, slope=0.3)),
    "type_of_argument": (functools.partial(leaky, slope=1), functools.partial(leaky, slope=1.0)),
    "sign_of_zero": (functools.partial(leaky, slope=0.0), functools.partial(leaky, slope=-0.0)),
    "keyword": (functools.partial(leaky, slope=0.2), functools.partial(leaky, shift=0.2)),
    "function": (functools.partial(leaky, slope=1), functools.partial(shared, slope=1)),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "default": (lambda x, a=1: x + a, lambda x, a=1.0: x + a),
    "object": (Power(2).apply, Power(3).apply),
    "items": (operator.itemgetter(0), operator.itemgetter(1)),
    "array": (functools.partial(leaky, slope=np.ones(2)), functools.partial(leaky, slope=[1, 1])),
    "closures": (closure(0.2), closure(0.3)),
    "zero": (0.0, -0.0),
    "tuple": ((1, 2), (1, 2.0)),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_other_configuration_is_another_structure(kind):
    """Values that give other results never share a compiled program."""
    one, other = DIFFERENT[kind]
    assert jax.tree.structure(Module(f=one)) != jax.tree.structure(Module(f=other))
    assert jax.tree.structure(Module(f=[one])) != jax.tree.structure(Module(f=[other]))


def test_what_can_change_is_the_same_as_itself_alone():
    """A dict, an array or a variable in a partial or a closure is compared by identity.

    It could be changed after the comparison, and then a network would run another one's program.
    """

    def adjustable():
        slope = 0.2

        def change(value):
            nonlocal slope
            slope = value

        return (lambda x: leaky(x, slope)), change

    (one, change), (other, _) = adjustable(), adjustable()
    first, second = Module(f=one, x=jnp.ones(1)), Module(f=other, x=jnp.ones(1))
    assert jax.tree.structure(first) != jax.tree.structure(second)
    change(0.5)
    again = jax.tree.map(lambda leaf: leaf, second)
    np.testing.assert_array_equal(again.f(-1.0), np.float32(-0.2))
    for make in (lambda: {"a": 1}, lambda: [1], lambda: np.ones(2), lambda: jnp.ones(2)):
        value = make()
        partials = [functools.partial(leaky, slope=v) for v in (value, value, make())]
        same, also, apart = (jax.tree.structure(Module(f=partial)) for partial in partials)
        assert same == also
        assert same != apart
        run = jax.jit(lambda module: module.x * 2)
        np.testing.assert_array_equal(run(Module(f=partials[0], x=jnp.ones(1))), [2])


SLOPE = 0.2


SLOPE = 0.2


def test_functions_are_the_same_as_themselves_alone(monkeypatch):
    """What a function reads can change between two models, so two of one line are two."""

    def build():
        return Module(f=lambda x: x * SLOPE)

    run = jax.jit(lambda module, x: module.f(x))
    assert run(build(), 1.0) == jnp.float32(0.2)
    monkeypatch.setitem(globals(), "SLOPE", jnp.float32(3.0))
    assert run(build(), 1.0) == 3.0


@dataclasses.dataclass(frozen=True)
class Labelled:
    size: int
    label: str = dataclasses.field(default="", compare=False)


def test_equal_static_values_are_not_exchanged():
    """A module keeps its own value where another one has an equal one that can be told apart."""
    first, second = (Module(c=Labelled(1, label), w=jnp.ones(1)) for label in "ab")
    assert jax.tree.structure(first) == jax.tree.structure(second)
    travelled = jax.tree.map(lambda leaf: leaf, second)
    assert (first.c.label, travelled.c.label) == ("a", "b")


class WithItself(Module):
    def __init__(self):
        self.weight = jnp.ones(3)
        self.method = self.forward
        self.part = functools.partial(self.forward, 1)

    def forward(self, x):
        return self.weight * x


def test_models_that_refer_to_themselves_are_let_go():
    """Static values that hold the module keep it alive no longer than its owner does."""
    model = WithItself()
    jax.tree.leaves(model)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_static_value_that_can_change_stays_the_modules_own():
    """A set is compared by what it holds, and a mapped module keeps its own, not an equal one's."""
    one, other = Module(names={"a"}, x=jnp.ones(1)), Module(names={"a"}, x=jnp.ones(1))
    jax.tree.structure(one)
    assert jax.tree.map(lambda leaf: leaf, other).names is other.names
    with pytest.raises(TypeError, match=r"names of a module is static .*frozenset"):
        hash(jax.tree.structure(other).node_data()[1])


class Ambiguous:
    """A value whose `==` gives an array, as that of a data frame does."""

    __hash__ = None

    def __eq__(self, other):
        return np.array([True, False])


def test_static_values_that_cannot_be_compared_are_an_error():
    """The error names the attribute and what to do."""
    one, other = (Module(table=Ambiguous(), x=jnp.ones(1)) for _ in range(2))
    with pytest.raises(TypeError, match=r"table of a module can't be compared.*attributes of"):
        jax.tree.map(jnp.add, one, other)
