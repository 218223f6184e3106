//! What only a machine can show: page protections, interrupts, time, other CPUs, entering a guest.
//!
//! One boot runs all; each test prints `test NAME ... ok` or its panic, and the machine ends by the exit port. With
//! `die=...` on the command line the machine does one deadly thing instead, to show how it ends.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "tests of the machine itself"),
    expect(clippy::panic, reason = "how a test fails, and one way to die")
)]

#[cfg(not(target_os = "none"))]
fn main() {
    println!("running 0 tests: these run in QEMU (`cargo test -p kernel --target x86_64-unknown-none`)");
}

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod cpus;
#[cfg(target_os = "none")]
mod deadly;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod protection;
#[cfg(target_os = "none")]
mod svm;

#[cfg(target_os = "none")]
mod bare {
    use cohort_abi::exit::Outcome;
    use kernel::cpu::{self, CpuIndex};
    use kernel::entry::BootInfo;
    use kernel::{console, memory};

    /// The tests, in the order in which they run: a name and what must not panic.
    const TESTS: &[(&str, fn())] = &[
        (
            "protection::text_is_read_only_and_the_rest_does_not_execute",
            crate::protection::sections,
        ),
        (
            "protection::a_page_below_every_stack_is_not_mapped",
            crate::protection::guard_pages,
        ),
        (
            "protection::page_zero_is_not_mapped",
            crate::protection::page_zero,
        ),
        (
            "interrupts::every_external_vector_is_noted_once",
            crate::interrupts::every_vector,
        ),
        (
            "interrupts::the_timer_comes_when_it_was_asked_to",
            crate::interrupts::timer,
        ),
        (
            "interrupts::an_nmi_is_counted_and_survived",
            crate::interrupts::nmi,
        ),
        ("cpus::each_other_cpu_comes_up_and_answers", crate::cpus::start),
        ("svm::a_guest_leaves_at_what_is_intercepted", crate::svm::exits),
        (
            "svm::a_guest_that_loops_leaves_at_an_interrupt",
            crate::svm::interrupted,
        ),
        (
            "svm::memory_that_is_not_mapped_leaves_with_its_address",
            crate::svm::nested_fault,
        ),
        ("svm::a_triple_fault_leaves", crate::svm::shutdown),
        ("svm::floating_point_state_starts_clean", crate::svm::clean_fpu),
    ];

    #[unsafe(no_mangle)]
    fn kernel_main(boot: BootInfo, _entry: u64) -> ! {
        memory::paging::init(&boot.memory).expect("page tables");
        cpu::init_this(0).expect("descriptor tables");
        cpu::clock::begin();
        assert!(cpu::clock::settle(), "the PIT answers");
        if let Some(how) = boot
            .cmdline
            .split_whitespace()
            .find_map(|word| word.strip_prefix("die="))
        {
            crate::deadly::die(how);
        }
        for (name, test) in TESTS {
            test();
            console::line(format_args!("test {name} ... ok"));
        }
        console::exit(Outcome::Success)
    }

    #[unsafe(no_mangle)]
    fn cpu_main(cpu: CpuIndex) -> ! {
        crate::cpus::answer(cpu)
    }
}
