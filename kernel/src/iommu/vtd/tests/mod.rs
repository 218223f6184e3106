//! The driver against a unit that walks the tables itself.
