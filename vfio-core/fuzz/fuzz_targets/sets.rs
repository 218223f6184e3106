//! `cargo +nightly fuzz run sets`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("sets", data));
