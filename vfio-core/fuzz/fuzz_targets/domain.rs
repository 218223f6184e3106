//! `cargo +nightly fuzz run domain`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("domain", data));
