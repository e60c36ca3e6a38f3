"""Proof on the reader's own device: `python -m inox check`.

It measures what the documentation promises: the error of every norm on hard inputs against its
published bound, whether a row has the same bits in any batch, and the time beside the textbook
formula and a copy. What is promised and not kept is told, and the exit status is 1.

Nothing of the package imports this: it stands above all the rest, and calls it as a user does.
"""
