"""`python -m inox check`: what it says of the package, and of implementations that are broken."""
