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
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise  # it is there, and lacks something itself
        raise ModuleNotFoundError(
            f"{package} is not installed, and inox.interop has classes for it alone. Install both "
            f'with: pip install "inox-normalization[{extra}]"',
            name=error.name,
        ) from None
