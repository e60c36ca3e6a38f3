"""What the result of an example depends on, and the tests that hold what the page promises."""
