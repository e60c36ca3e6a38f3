"""Packages that are no dependency: imported where they are installed, else what installs them.

A framework is asked for by the module that is named after it, a library by what reads its files.
"""

import importlib
from types import ModuleType


def framework(module: str, extra: str) -> ModuleType:
    """A framework's module.

    Args:
        module: The name that it is imported by, such as `flax.nnx`.
        extra: The extra of our distribution that installs it.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: If it is not installed; tells what to install.

    Example:
        >>> framework("jax.numpy", "jax").__name__
        'jax.numpy'
    """
    package = module.split(".")[0]
    return _imported(
        module,
        f"{package} is not installed, and inox.interop has classes for it alone. Install both "
        f'with: pip install "inox-normalization[{extra}]"',
    )


def library(name: str, purpose: str, extra: str) -> ModuleType:
    """A library.

    Args:
        name: The name that it is imported by.
        purpose: What it is needed for, for the message.
        extra: The extra of our distribution that installs it.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: If it is not installed; tells what to install.

    Example:
        >>> library("numpy", "reading arrays", "torch").__name__
        'numpy'
    """
    return _imported(
        name,
        f"{purpose} needs {name}, which is not installed. Install it with: pip install {name}, "
        f'or: pip install "inox-normalization[{extra}]"',
    )


def _imported(module: str, message: str) -> ModuleType:
    """A module, or an error with the message where its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # it is there, and lacks something itself
        raise ModuleNotFoundError(message, name=error.name) from None
