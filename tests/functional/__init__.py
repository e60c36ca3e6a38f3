"""Tests of `inox.functional`: arrays in, arrays out."""
