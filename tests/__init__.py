"""The tests, as a package: helpers are imported by their full name (`tests.oracle`)."""
