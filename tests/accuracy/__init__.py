"""What the published bounds on rounding errors say, and the tests that hold them."""
