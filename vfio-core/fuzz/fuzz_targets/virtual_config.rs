//! `cargo +nightly fuzz run virtual_config`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("virtual_config", data));
