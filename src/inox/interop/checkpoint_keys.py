"""The keys of a checkpoint that belong to one layer: each one there, and none besides."""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

NEAR = 5  # as many other places are named in a message


def check_prefix(prefix: Any, example: str) -> str:
    """A prefix, if it is one.

    Args:
        prefix: What the caller gave.
        example: One to name in the message.

    Returns:
        The prefix.

    Raises:
        TypeError: If it is no string.

    Example:
        >>> check_prefix("layer1.bn1", "bn1")
        'layer1.bn1'
    """
    if not isinstance(prefix, str):
        raise TypeError(
            f"prefix must be a string; found {type(prefix).__name__}. It is what stands in front "
            f"of the layer's keys, such as {example!r}, and '' where nothing does."
        )
    return prefix


def keys_of(
    argument: str,
    keys: Iterable[Any],
    start: str,
    wanted: Mapping[str, str],
    ignored: Set[str] = frozenset(),
    advice: Callable[[list[str], list[str]], str] = lambda missing, extra: "",
) -> dict[str, str]:
    """The key of each array of a layer.

    Args:
        argument: What the checkpoint is called, for messages.
        keys: All keys of the checkpoint.
        start: What the keys of this layer start with, the separator included.
        wanted: What the layer calls an array, by what follows `start`.
        ignored: What may follow besides.
        advice: From what is missing and what is extra, a cure better than the usual one, or "".

    Returns:
        The whole key, by what the layer calls the array.

    Raises:
        TypeError: If a key is no string.
        ValueError: If a key is missing or there is one that the layer has no use for.

    Example:
        >>> keys_of("state_dict", ["bn1.weight", "bn2.weight"], "bn2.", {"weight": "scale"})
        {'scale': 'bn2.weight'}
    """
    keys = list(keys)
    if odd := [key for key in keys if not isinstance(key, str)]:
        raise TypeError(
            f"{argument} must have strings for keys; found {odd[0]!r}. Give a flat mapping from "
            "names to arrays."
        )
    rest = [key.removeprefix(start) for key in keys if key.startswith(start)]
    missing = [name for name in wanted if name not in rest]
    extra = [name for name in rest if name not in wanted and name not in ignored]
    if not missing and not extra:
        return {array: start + name for name, array in wanted.items()}
    if not rest and wanted:
        raise ValueError(_nothing(argument, keys, start, list(wanted)))
    found = f"under {start!r} it has {_some(rest)}" if start else f"it has {_some(rest)}"
    parts: list[str] = []
    if missing:
        whole = [start + name for name in missing]
        parts.append(f"{argument} lacks {_some(whole)}, which the layer has; {found}.")
    if extra:
        whole = [start + name for name in extra]
        held = ", ".join(wanted.values()) or "nothing"
        parts.append(
            f"{argument} has {_some(whole)}, for which the layer has no use: it holds {held}."
        )
    cure = advice(missing, extra) or _cure(missing, extra, wanted)
    raise ValueError(" ".join([*parts, cure]))


def _cure(missing: list[str], extra: list[str], wanted: Mapping[str, str]) -> str:
    if missing and len(missing) == len(wanted):
        return "None of what the layer has is there: give the prefix of the layer itself."
    if missing:
        names = " and ".join(sorted({wanted[name] for name in missing}))
        return (
            f"Build the layer without {names} if the other framework's layer has none, or give "
            "the prefix of the layer itself."
        )
    return (
        "Build the layer with all that the other framework's layer has (scale=jnp.ones(...), "
        "bias=jnp.zeros(...)), or give the prefix of the layer itself."
    )


def _nothing(argument: str, keys: list[str], start: str, wanted: list[str]) -> str:
    """What to say where no key starts as it should."""
    prefix, last = start[:-1], wanted[0]
    if prefix in keys:
        return f"prefix {prefix!r} is the key of one array. Give what stands in front of its name."
    if last in keys:
        return (
            f"{argument} has no key that starts with {start!r}, and has {last!r}: it is that of "
            "one layer. Give prefix=''."
        )
    places = [key.removesuffix(last) for key in keys if key.endswith(start[-1:] + last)]
    near = [place[:-1] for place in places if place.endswith(start)]
    other = near or [place[:-1] for place in places]
    there = f"no key ends in {last!r}; it has {_some(keys)}"
    if other:
        there = f"there are keys that end in {last!r} under {_some(other)}"
    return (
        f"{argument} has no key that starts with {start!r}, for {start + last!r} and the others; "
        f"{there}. Give as prefix what stands in front of the layer's keys."
    )


def _some(names: list[str]) -> str:
    """Names, the first few where there are many."""
    if not names:
        return "nothing"
    more = f" and {len(names) - NEAR} more" if len(names) > NEAR else ""
    return ", ".join(map(repr, names[:NEAR])) + more
