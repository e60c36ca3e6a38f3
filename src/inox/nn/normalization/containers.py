"""The containers of a state: what a checkpoint or a framework has made of them goes out again.

A state is a dict whose entries are named tuples. A checkpoint restored without a target has dicts
or lists in the place of the tuples, Flax a `FrozenDict` in the place of the dict. Layers read all
of these by :func:`read`, and give back what they took by :func:`like`, so that a state keeps its
structure: `jax.lax.scan`, donation and optimizers ask for that.
"""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

Container = TypeVar("Container", bound=tuple[Any, ...])


def like(entry: Any, values: Any) -> Any:
    """`values` in the container type of `entry`.

    Args:
        entry: A mapping, a named tuple, a tuple or a list; it is not changed.
        values: A named tuple, of all that the entry holds, or a mapping of what it holds or a part
            of that. What a mapping `entry` holds besides is kept.

    Returns:
        A container of the type of `entry`, with its order of keys. A mapping whose type can't be
        made from a dict becomes a dict.

    Example:
        >>> from inox.nn import Statistics
        >>> like({"var": 0, "mean": 0}, Statistics(mean=1, var=2))
        {'var': 2, 'mean': 1}
        >>> like([0, 0], Statistics(mean=1, var=2))
        [1, 2]
    """
    named: Mapping[Any, Any] = values if isinstance(values, Mapping) else values._asdict()
    if isinstance(entry, dict):
        copied: dict[Any, Any] = copy.copy(entry)  # a defaultdict keeps its factory
        copied.update(named)
        return copied
    if isinstance(entry, Mapping):  # a copy of another kind might share what it holds
        merged = {**entry, **named}
        own: Any = type(entry)  # what it is built from is its own affair
        try:
            return own(merged)
        except TypeError:
            return merged
    fields = getattr(type(entry), "_fields", None)
    if fields is None:
        return type(entry)(named.values())
    if set(fields) == set(named):
        return type(entry)(**named)
    return type(entry)(*named.values())


def read(entry: Any, kind: type[Container]) -> Container | None:
    """The values of an entry as the named tuple `kind`; None where it is no container of those.

    Args:
        entry: A mapping or a named tuple with the fields of `kind` in any order, or a tuple or
            list of as many values.
        kind: The type of named tuple.

    Returns:
        The values, as they are.

    Example:
        >>> from inox.nn import Statistics
        >>> read({"var": 2, "mean": 1}, Statistics)
        Statistics(mean=1, var=2)
    """
    named: Any = kind  # of which a type checker knows but that it is a tuple
    fields: tuple[str, ...] = named._fields
    if isinstance(entry, Mapping):
        return named(*(entry[f] for f in fields)) if set(entry) == set(fields) else None
    if not isinstance(entry, (tuple, list)) or len(entry) != len(fields):
        return None
    names = getattr(type(entry), "_fields", fields)
    if set(names) == set(fields):
        return named(**dict(zip(names, entry, strict=True)))
    return named(*entry)
