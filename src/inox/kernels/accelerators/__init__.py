"""Programs of XLA's own operations in the form that its compilers for GPU and TPU fuse best."""
