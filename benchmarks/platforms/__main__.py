"""The command line. Sets variables that JAX and the compilers read when they start, then runs."""

from .environment import set_variables

if __name__ == "__main__":
    set_variables()
    from .command import main

    raise SystemExit(main())
