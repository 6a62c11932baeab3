"""Applications to read and to copy from."""
