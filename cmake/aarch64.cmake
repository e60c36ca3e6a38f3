# For building the kernels and their test program on another processor for AArch64 Linux, with
# Debian's cross compiler (make test-arm).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
