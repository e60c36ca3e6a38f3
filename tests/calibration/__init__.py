"""Batch statistics over microbatches, data sets and copies of a network."""
