"""Trees of modules in a program that `jax.export` has stored.

A stored program tells how its arguments and results are taken apart: for each node the name of its
class and what the node is but its children. Of a module that is the structure, written as JSON of
plain data: None, bools, numbers, strings, bytes, dtypes, and tuples, lists and dicts of those.
Nothing is unpickled, so reading a stored program runs no code but the classes' own. The process
that reads it must have imported or defined the same classes.

A class is known by its module and its name. One that is defined again, as in a notebook, is known
by the same name with a number: what is read goes to the newest, and what is stored names it with
the number, so store from a process that defines the class once.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

Type = TypeVar("Type", bound=type)


class Form(NamedTuple):
    """How a node of a class is written.

    Args:
        cls: The class.
        encode: From what JAX keeps of a node besides its children to plain data.
        build: From that data and the children to a node.
    """

    cls: type
    encode: Callable[[Any], Any]
    build: Callable[[Any, Sequence[Any]], Any]


NEWEST: dict[str, Form] = {}  # by the name of the class
_definitions: dict[str, int] = {}  # the number for the next class of a name
_MOST_DEFINITIONS = 10_000  # of one class in a process; to stop somewhere


def name_of(cls: type) -> str:
    """The name of a class in a stored program: for those of this package the public one."""
    package, *rest = cls.__module__.split(".")
    parts = [package, *(rest[:1] if package == "inox" else rest), cls.__qualname__]
    return ".".join(parts)


def register(
    cls: Type, encode: Callable[[Any], Any], build: Callable[[Any, Sequence[Any]], Any]
) -> Type:
    """Lets programs be stored that have nodes of a class among arguments or results.

    Args:
        cls: The class, registered as a PyTree.
        encode: From what JAX keeps of a node besides its children to plain data.
        build: From that data and the children to a node.

    Returns:
        The class.
    """
    name = name_of(cls)
    NEWEST[name] = Form(cls, encode, build)
    if "_stored_as" in vars(cls):  # the file that registers it is loaded again
        return cls
    for number in range(_definitions.get(name, 1), _MOST_DEFINITIONS):
        stored_as = name if number == 1 else f"{name}#{number}"
        try:
            jax.export.register_pytree_node_serialization(
                cls,
                serialized_name=stored_as,
                serialize_auxdata=lambda kept: json.dumps(encode(kept)).encode(),
                deserialize_auxdata=lambda stored: json.loads(bytes(stored)),
                from_children=lambda aux_data, children: NEWEST[name].build(aux_data, children),
            )
        except ValueError:  # the name is taken, by a class that was defined before
            continue
        cls._stored_as = stored_as
        _definitions[name] = number + 1
        break
    return cls


def register_namedtuple(cls: Type) -> Type:
    """Lets programs be stored that have named tuples of a class among arguments or results.

    Args:
        cls: The class.

    Returns:
        The class.
    """
    return register(cls, lambda _: None, lambda _, children: cls(*children))


def plain(value: Any, owner: str) -> Any:
    """A static value as plain data for JSON.

    Args:
        value: The value.
        owner: What holds it, for the error.

    Returns:
        Data from which :func:`static_value` makes the value again.

    Raises:
        TypeError: If the value is of another kind.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind in (tuple, list):
        return {kind.__name__: [plain(item, owner) for item in value]}
    if kind is dict:
        return {"dict": [[plain(k, owner), plain(v, owner)] for k, v in value.items()]}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, type) and issubclass(value, np.generic):
        return {"numpy": value.__name__}
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and getattr(jnp, dtype.name, None) is value:
        return {"jax": dtype.name}
    raise TypeError(
        f"{owner} is {value!r}, which a stored program can't hold: it takes None, numbers, "
        "strings, dtypes, and tuples, lists and dicts of those. Let the function that you export "
        "close over the module, jax.export.export(jax.jit(lambda x: module(x))), or keep a name "
        "in the attribute and look up what it stands for where it is used."
    )


def static_value(data: Any) -> Any:
    """The static value that :func:`plain` has written."""
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    match kind:
        case "tuple":
            return tuple(map(static_value, content))
        case "list":
            return list(map(static_value, content))
        case "dict":
            return {static_value(key): static_value(value) for key, value in content}
        case "complex":
            return complex(*content)
        case "bytes":
            return bytes.fromhex(content)
        case "dtype":
            return jnp.dtype(content)
        case "numpy":
            return jnp.dtype(content).type
        case "jax":
            return getattr(jnp, jnp.dtype(content).name)
        case _:
            raise ValueError(
                f"data hold a value of the kind {kind!r}, which this version of inox doesn't "
                "know. Read the program with the version that has stored it."
            )


def tree_data(tree: Any) -> Any:
    """A whole tree with strings as leaves as plain data, for a module's definition."""
    if tree is None or type(tree) is str:
        return tree
    name = name_of(type(tree))
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [tree_data(item) for item in tree]}
    if type(tree) is dict:
        return {"dict": [[plain(key, "a key"), tree_data(tree[key])] for key in tree]}
    if name not in NEWEST or NEWEST[name].cls is not type(tree):
        raise TypeError(
            f"the module holds a {type(tree).__name__}, which a stored program can't hold in a "
            "module's definition: it takes modules, parameters, tuples, lists and dicts. Hand the "
            "module itself over in place of its definition."
        )
    children, kept = jax.tree_util.default_registry.flatten_one_level(tree)
    return {"node": [name, NEWEST[name].encode(kept), [tree_data(child) for child in children]]}


def tree_of(data: Any) -> Any:
    """The tree that :func:`tree_data` has written."""
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    if kind == "node":
        name, kept, children = content
        if name not in NEWEST:
            raise ValueError(
                f"data hold a node of {name}, which isn't defined in this process. Import the "
                "module that defines it before the program is read."
            )
        return NEWEST[name].build(kept, [tree_of(child) for child in children])
    if kind == "dict":
        return {static_value(key): tree_of(child) for key, child in content}
    return (tuple if kind == "tuple" else list)(map(tree_of, content))
