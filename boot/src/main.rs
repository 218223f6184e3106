//! The host tool `cohort`.
fn main() {}
