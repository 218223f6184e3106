//! `cargo +nightly fuzz run mc_response`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("mc_response", data));
