"""Programs of XLA's own operations in the form that its compiler for GPUs fuses best."""
