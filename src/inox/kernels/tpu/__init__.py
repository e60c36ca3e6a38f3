"""TPU: kernels of Pallas, which Mosaic compiles with the program around them."""
