//! Bare-metal guests: the programs that the demo and the machine tests run in Cohort's partitions.
//!
//! `storage` drives an NVMe controller as a driver does on hardware, `rogue` lets a device attack all memory
//! that is not its own, `several` has two CPUs, `faulty` does one forbidden thing. They know nothing of Cohort: they meet a PVH entry, a
//! local APIC, ACPI tables and PCI, and run natively on QEMU's q35 as well, which is how they are tested.
//!
//! ```text
//! cargo build -p guests --target x86_64-unknown-none --profile bare
//! qemu-system-x86_64 -M q35 -cpu EPYC -m 64M -nodefaults -display none -serial stdio -no-reboot \
//!     -device isa-debug-exit,iobase=0xf4 -kernel target/x86_64-unknown-none/bare/rogue \
//!     -append 'hypervisor=0x2000000 other=0x3000000' -device edu,dma_mask=0xffffffffffffffff
//! ```
//!
//! QEMU's exit status is 33 where everything held and 35 where something did not, as here: without an IOMMU the
//! attacks succeed. Each program's module documents its keys on the command line. A guest needs 8 MiB of RAM: its
//! image, stack and heap lie from 1 MiB to 4 MiB, and it watches the RAM above for writes of others.
//!
//! [`cmdline`], [`pattern`], [`acpi`] and [`nvme::prp`] are logic and test on the host; the rest touches the
//! machine and exists for bare metal only. [`guest!`] makes the entry point of a binary.

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
#[macro_use]
pub mod rt;

pub mod acpi;
#[cfg(target_os = "none")]
pub mod canary;
pub mod cmdline;
#[cfg(target_os = "none")]
pub mod edu;
#[cfg(target_os = "none")]
pub mod faulty;
pub mod nvme;
pub mod pattern;
#[cfg(target_os = "none")]
pub mod pci;
#[cfg(target_os = "none")]
pub mod rogue;
#[cfg(target_os = "none")]
pub mod several;
#[cfg(target_os = "none")]
pub mod storage;

/// Makes `$module::run` the program: entry and PVH note on bare metal, a stub that says so on the host.
#[macro_export]
macro_rules! guest {
    ($module:ident) => {
        #[cfg(target_os = "none")]
        $crate::rt::pvh::xen_elfnote_phys32_entry!($crate::rt::entry::guest_start);

        /// What the runtime calls once the machine is ready.
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        fn guest_main(machine: &$crate::rt::Machine) -> Result<(), $crate::rt::Failure> {
            $crate::$module::run(machine)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            eprintln!(
                "{} runs on bare metal only: build it with `--target x86_64-unknown-none --profile bare`",
                stringify!($module)
            );
            std::process::exit(2);
        }
    };
}
