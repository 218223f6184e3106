//! `cargo +nightly fuzz run capabilities`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vfio_core_fuzz::run("capabilities", data));
