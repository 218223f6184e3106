//! `cargo +nightly fuzz run mappings`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("mappings", data));
