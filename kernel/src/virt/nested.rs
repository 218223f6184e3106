//! Nested page tables in the AMD64 format: which host memory stands behind a guest's physical addresses.
