"""Our normalization under the names and conventions of other frameworks.

Each module says one framework's conventions and nothing numeric: names, arguments, defaults,
shapes, layouts, what is a parameter and what a running statistic. What it computes stands in
:mod:`.core`, which is :mod:`inox.functional` in the terms that frameworks share.

None of them is imported before it is asked for, and none of the frameworks is a dependency.
"""
