//! The hypervisor: boots, hands whole cohorts to guests, runs them, and says what happened.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "the library finds the main functions by name")
)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the hypervisor runs on bare metal; `cargo run` boots it in QEMU");
    std::process::exit(2);
}

#[cfg(target_os = "none")]
mod bare {
    use cohort_abi::exit::Outcome;
    use kernel::cpu::{self, CpuIndex};
    use kernel::entry::BootInfo;
    use kernel::{console, memory};

    #[unsafe(no_mangle)]
    fn kernel_main(boot: BootInfo, _entry: u64) -> ! {
        log::info!("{boot:x?}");
        memory::paging::init(&boot.memory).expect("paging");
        cpu::init_this(0).expect("cpu");
        let ok = cpu::clock::calibrate();
        cpu::lapic::calibrate_timer();
        log::info!("tsc {} kHz {ok}", cpu::clock::khz());
        log::info!("{:?}", cpu::smp::start(&[1, 2]));
        console::exit(Outcome::Success)
    }

    #[unsafe(no_mangle)]
    fn cpu_main(cpu: CpuIndex) -> ! {
        log::info!("CPU {cpu} up");
        loop {
            cpu::interrupts::wait();
        }
    }
}
