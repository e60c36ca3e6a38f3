"""The command line. Sets up memory before anything that allocates is imported, then runs."""

from .environment import restart_with_settings

if __name__ == "__main__":
    restart_with_settings()
    from .command import main

    main()
