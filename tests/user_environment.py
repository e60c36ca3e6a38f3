"""The environment of a user, for programs that tests run in processes of their own."""

import os


def user_environment(**settings: str) -> dict[str, str]:
    """That of the tests without the eight devices that they ask JAX for."""
    return {**{k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}, **settings}
