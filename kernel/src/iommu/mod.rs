//! I/O memory management units.
