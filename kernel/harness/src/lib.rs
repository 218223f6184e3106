//! In place of the standard test harness on bare metal, which has none: boots, says that unit tests run on the host, ends.
//!
//! `cargo test -p kernel --target x86_64-unknown-none` builds the library's unit tests too, and the compiler then links the
//! crate `test`. This is that crate. The library is empty there (`kernel/src/lib.rs`), so no test is ever passed here.

#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "the library finds the main functions by name")
)]

#[cfg(target_os = "none")]
mod bare {
    use cohort_abi::exit::Outcome;
    use kernel::console;
    use kernel::cpu::CpuIndex;
    use kernel::entry::BootInfo;

    #[unsafe(no_mangle)]
    fn kernel_main(_boot: BootInfo, _entry: u64) -> ! {
        console::line(format_args!(
            "running 0 tests: the library's unit tests run on the host (`cargo test -p kernel`)"
        ));
        console::exit(Outcome::Success)
    }

    /// No other CPU is ever started.
    #[unsafe(no_mangle)]
    fn cpu_main(_cpu: CpuIndex) -> ! {
        console::exit(Outcome::Failure)
    }
}

/// What the compiler calls from the main function that it makes for tests, and that nobody calls on bare metal. It takes no
/// test: one that is built for bare metal by mistake does not compile.
#[cfg(target_os = "none")]
pub fn test_main_static(_none: &[&core::convert::Infallible]) {}
