//! `cargo +nightly fuzz run config_scan`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("config_scan", data));
