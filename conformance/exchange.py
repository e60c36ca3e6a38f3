"""Our classes in the place of a framework's own, and the proof that they are what was built.

A class is exchanged by identity wherever the framework holds it: where users import it
from, where it is defined, and where the framework's own composites look it up (attention with
normalized queries, residual networks). Modules that are imported later find ours in those.
"""

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType

from conformance.classes import Framework


class OwnClassBuilt(BaseException):
    """The framework's own class was used where ours is under test.

    Not an `Exception`, so that no test which expects an error takes it for that.
    """


class Constructions:
    """How often each class was built since the last reset."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.forbidden: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget what was built."""
        self.counted.clear()
        self.forbidden.clear()

    def count(self, cls: type, label: str, constructor: str) -> None:
        """Count each instance of a class from now on, those of its subclasses as well."""
        self._before(cls, constructor, lambda: self.counted.update([label]))

    def forbid(self, cls: type, label: str, method: str = "__init__") -> None:
        """Make it an error to build an instance of a class, or to call another of its methods."""

        def refuse() -> None:
            self.forbidden.update([label])
            raise OwnClassBuilt(f"the framework's own {label} was used: {method}")

        self._before(cls, method, refuse)

    @staticmethod
    def _before(cls: type, method: str, action: Callable[[], None]) -> None:
        original = getattr(cls, method)

        @functools.wraps(original)
        def acting_first(*arguments, **keywords):
            action()
            return original(*arguments, **keywords)

        # Keras asks in a way that does not see through a wrapper.
        acting_first.__signature__ = inspect.signature(original)
        setattr(cls, method, acting_first)


def holders_in(package: str) -> list[ModuleType | type]:
    """The modules of a package that are imported, and the classes that are defined in them.

    Haiku's networks look other classes up in a class `hk` that each of their modules has.
    """
    modules = [
        module
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and _belongs(name, package)
    ]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and _belongs(value.__module__, package)
    ]
    return list({id(holder): holder for holder in [*modules, *classes]}.values())


def _belongs(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def put_in_place(own: type, ours: type, package: str) -> list[str]:
    """Exchange a class wherever a package holds it; tells where that was."""
    places = []
    for holder in holders_in(package):
        for name, held in list(vars(holder).items()):
            if held is own:
                setattr(holder, name, ours)
                places.append(f"{holder.__name__}.{name}")
    return places


def prepare(framework: Framework, whose: str, constructions: Constructions) -> None:
    """Have a framework's tests build, and count, the classes of `whose`: "ours" or "framework"."""
    own = framework.own()
    built = own
    if whose == "ours":
        built = framework.ours()
        for name in framework.names:
            put_in_place(own[name], built[name], framework.package)
            label = f"{framework.exposed}.{name}"
            constructions.forbid(own[name], label, framework.own_method)
    for name in framework.names:
        constructions.count(built[name], name, framework.constructor)
