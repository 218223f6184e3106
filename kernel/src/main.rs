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
    use kernel::discovery::Machine;
    use kernel::entry::BootInfo;
    use kernel::{console, memory, report};

    #[unsafe(no_mangle)]
    fn kernel_main(boot: BootInfo, _entry: u64) -> ! {
        memory::paging::init(&boot.memory).expect("paging");
        cpu::init_this(0).expect("cpu");
        cpu::clock::calibrate();
        cpu::lapic::calibrate_timer();
        let machine = Machine::find(&boot).expect("machine");
        log::info!("{:?}", machine.acpi);
        let functions = machine.functions.clone();
        let (topology, table) = kernel::assign::take_over(machine).expect("take over");
        for record in report::machine(
            &functions,
            &topology,
            table.cohorts(),
            |_| None,
            |id| alloc::format!("{:?}", table.state(id)),
        ) {
            log::info!("{record:x?}");
        }
        log::info!(
            "requests {}",
            table.platform().with_iommu(|iommu| iommu.requests())
        );
        console::exit(Outcome::Success)
    }
    extern crate alloc;

    #[unsafe(no_mangle)]
    fn cpu_main(_cpu: CpuIndex) -> ! {
        loop {
            cpu::interrupts::wait();
        }
    }
}
