//! The bodies of the fuzz targets, which `cargo test -p vfio-core` runs as well.

#[path = "../../tests/fuzz/bodies/mod.rs"]
mod bodies;

/// Runs one input of the target called `name`.
pub fn run(name: &str, data: &[u8]) {
    let target = bodies::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = target.unwrap_or_else(|| panic!("there is no fuzz target {name}"));
    body(data);
}
