"""Readable text for modules: arrays by dtype and shape, configuration in full."""

import abc
from typing import Any

WIDTH = 88


class Printable(abc.ABC):
    """An object whose text shows its children."""

    __slots__ = ()

    @abc.abstractmethod
    def printed_children(self) -> list[tuple[str, Any]]:
        """The children, each with the text that stands in front of it."""

    def __repr__(self) -> str:
        return _show(self, 0)


def _show(node: Any, indent: int) -> str:
    """`node` as text, on one line where it fits, else indented."""
    parts = _parts(node)
    if parts is None:
        return _leaf(node)
    opening, items, closing = parts
    texts = [(name, _show(value, indent + 2)) for name, value in items]
    line = opening + ", ".join(name + text for name, text in texts) + closing
    if "\n" not in line and indent + len(line) <= WIDTH:
        return line
    margin = " " * (indent + 2)
    body = "".join(f"{margin}{name}{text},\n" for name, text in texts)
    return f"{opening}\n{body}{' ' * indent}{closing.removeprefix(',')}"


def _leaf(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"{dtype}[{', '.join(map(str, shape))}]"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"<{value.__qualname__}>"
    return repr(value)


def _parts(node: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """Opening bracket, named children and closing bracket; None for a leaf."""
    kind = type(node).__name__
    if isinstance(node, Printable):
        return f"{kind}(", node.printed_children(), ")"
    fields: Any = getattr(node, "_fields", None)
    if isinstance(node, tuple) and fields is not None:
        return f"{kind}(", [(f"{field}=", getattr(node, field)) for field in fields], ")"
    children: Any = node
    if kind == "list":
        return "[", [("", item) for item in children], "]"
    if kind == "tuple":
        return "(", [("", item) for item in children], ",)" if len(children) == 1 else ")"
    if kind == "dict":
        return "{", [(f"{key!r}: ", value) for key, value in children.items()], "}"
    return None
