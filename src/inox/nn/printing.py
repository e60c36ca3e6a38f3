"""Readable text for modules: arrays by dtype and shape, configuration in full."""

from typing import Any

WIDTH = 88


def show(node: Any, indent: int = 0) -> str:
    """`node` as text, on one line where it fits, else indented."""
    parts = _parts(node)
    if parts is None:
        return _leaf(node)
    opening, items, closing = parts
    texts = [(name, show(value, indent + 2)) for name, value in items]
    line = opening + ", ".join(name + text for name, text in texts) + closing
    if "\n" not in line and indent + len(line) <= WIDTH:
        return line
    margin = " " * (indent + 2)
    body = "".join(f"{margin}{name}{text},\n" for name, text in texts)
    return f"{opening}\n{body}{' ' * indent}{closing}"


def _leaf(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"{dtype}[{', '.join(map(str, shape))}]"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"<{value.__qualname__}>"
    return repr(value)


def _parts(node: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """Opening bracket, named children and closing bracket; None for a leaf."""
    from .module import Module
    from .parameter import Parameter
    from .state import StateEntry

    kind = type(node).__name__
    if isinstance(node, Module):
        items = [(f"{name}=", value) for name, value in node.attributes()]
        return f"{kind}(", items, ")"
    if isinstance(node, (Parameter, StateEntry)):
        return f"{kind}(", [("", node.value)], ")"
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return f"{kind}(", [(f"{f}=", getattr(node, f)) for f in node._fields], ")"
    if kind == "list":
        return "[", [("", item) for item in node], "]"
    if kind == "tuple":
        return "(", [("", item) for item in node], ",)" if len(node) == 1 else ")"
    if kind == "dict":
        return "{", [(f"{key!r}: ", value) for key, value in node.items()], "}"
    return None
