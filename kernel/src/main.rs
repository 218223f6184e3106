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
    use cohort_abi::bundle::Mode;
    use cohort_abi::exit::Outcome;
    use kernel::cpu::CpuIndex;
    use kernel::discovery::Machine;
    use kernel::entry::BootInfo;
    use kernel::start::{self, Refused};
    use kernel::{console, partition, steps, survey};

    /// The boot CPU: everything in order, or a refusal that says why, and the end.
    #[unsafe(no_mangle)]
    fn kernel_main(boot: BootInfo, entry_ticks: u64) -> ! {
        match run(&boot, entry_ticks) {
            Ok(true) => console::exit(Outcome::Success),
            Ok(false) => console::exit(Outcome::Failure),
            Err(refused) => {
                survey::refuse(&refused);
                console::exit(Outcome::Failure)
            }
        }
    }

    /// Every other CPU: waits for a partition, runs it, and waits for the next.
    #[unsafe(no_mangle)]
    fn cpu_main(cpu: CpuIndex) -> ! {
        partition::serve(cpu)
    }

    /// `Ok` says whether everything that the configuration expects held.
    fn run(boot: &BootInfo, entry_ticks: u64) -> Result<bool, Refused> {
        start::this_cpu(boot)?;
        let bundle = start::bundle(boot)?;
        steps::done("bundle");
        let features = match bundle.config.mode {
            Mode::Sets => None,
            Mode::Run | Mode::Check | Mode::Bench => Some(start::virtualisation()?),
        };
        steps::done("SVM");
        let machine = Machine::find(boot)?;
        steps::done("discovery");
        let others = start::cpus(&machine.acpi);
        let survey = survey::take(machine, &bundle.config)?;
        steps::done("IOMMU, cohorts");
        start::clocks();
        steps::done("clocks");
        let up = start::other_cpus(&others)?;
        steps::done("other CPUs");
        let Some(features) = features else {
            return Ok(survey.end(&bundle.config));
        };
        let ready = partition::prepare(&bundle, &up, start::free_memory(boot), survey)?;
        steps::done("plans");
        match bundle.config.mode {
            Mode::Sets | Mode::Check => Ok(ready.survey.end(&bundle.config)),
            Mode::Run => partition::run(ready, features, entry_ticks),
            Mode::Bench => partition::bench(ready, features, entry_ticks),
        }
    }
}
