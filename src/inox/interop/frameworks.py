"""The frameworks that adapters are for: imported where they are there, named where they are not."""

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
    return imported(
        module,
        f"{package} is not installed, and inox.interop has classes for it alone. Install both "
        f'with: pip install "inox-normalization[{extra}]"',
    )


def imported(module: str, message: str) -> ModuleType:
    """A module, or an error with the message where its package is not installed.

    Args:
        module: The name that it is imported by.
        message: What to say.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: If its package is not installed, or lacks something itself.

    Example:
        >>> imported("json", "json comes with Python").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # it is there, and lacks something itself
        raise ModuleNotFoundError(message, name=error.name) from None
