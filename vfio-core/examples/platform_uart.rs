//! A platform device, a UART with one page of registers and one interrupt: refused as long as its reset fails, then opened, used
//! and closed, under the lease of its cohort.
//!
//! `cargo run -p vfio-core --example platform_uart`

mod shared;

use std::cell::{Cell, RefCell};
use std::error::Error;

use vfio_core::addr::HostPhys;
use vfio_core::cohort::{Cohorts, Inventory};
use vfio_core::device::{Device, IrqAction, IrqRange, IrqRequest, IrqSink};
use vfio_core::lease::CohortTable;
use vfio_core::pci::config::Width;
use vfio_core::platform::{
    Description, PlatformBus, PlatformDevice, PlatformId, PlatformRegion, RegionKind, ResetKind, Trigger,
};
use vfio_core::{DeviceId, Fault, Owner};

const UART: PlatformId = PlatformId(0);
const REGISTERS: HostPhys = HostPhys(0x900_0000);

/// A machine with the UART: what is written to its first register is sent.
#[derive(Default)]
struct Machine {
    sent: RefCell<String>,
    reset_works: Cell<bool>,
}

impl PlatformBus for Machine {
    fn read(&self, _: HostPhys, _: Width) -> u32 {
        0
    }

    fn write(&self, address: HostPhys, _: Width, value: u32) {
        if address == REGISTERS {
            self.sent.borrow_mut().push(char::from(value.to_le_bytes()[0]));
        }
    }

    fn reset(&self, device: PlatformId) -> Result<(), Fault> {
        println!(
            "  {device}: reset {}",
            if self.reset_works.get() { "done" } else { "fails" }
        );
        if self.reset_works.get() {
            Ok(())
        } else {
            Err(Fault::TimedOut)
        }
    }

    fn connect(&self, device: PlatformId, index: u32, _: Trigger) -> Result<(), Fault> {
        println!("  {device}: line {index} is connected");
        Ok(())
    }

    fn disconnect(&self, device: PlatformId, index: u32) -> Result<(), Fault> {
        println!("  {device}: line {index} is disconnected");
        Ok(())
    }

    fn mask(&self, device: PlatformId, index: u32) -> Result<(), Fault> {
        println!("  {device}: line {index} is masked");
        Ok(())
    }

    fn unmask(&self, device: PlatformId, index: u32) -> Result<(), Fault> {
        println!("  {device}: line {index} is unmasked");
        Ok(())
    }
}

/// Where interrupts go: into the guest.
struct Guest;

impl IrqSink for Guest {
    fn signal(&self, device: DeviceId, index: u32, _: u32) {
        println!("  the guest gets interrupt {index} of {device}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let machine = Machine::default();
    // What firmware says of it. Nothing else describes a platform device.
    let description = Description {
        id: UART,
        regions: vec![PlatformRegion {
            kind: RegionKind::Memory,
            address: REGISTERS,
            size: 0x1000,
            writable: true,
        }],
        irqs: vec![Trigger::Level],
        reset: ResetKind::Required,
        requesters: vec![],
    };

    // It is a cohort by itself. The lease says that nobody else has it.
    let mut inventory = Inventory::new();
    inventory.add_platform([&description]);
    println!("taking over:");
    let table = CohortTable::new(Cohorts::build(inventory)?, shared::Printing::default())?;
    let guest = Owner::Guest(1);
    let plan = table.plan_open(guest, &[UART.into()], false)?;
    let domain = table.domain(guest, vec![])?;
    let leases = table.open(&plan, &domain)?;

    println!("opening it while its reset does not work:");
    if let Err(refusal) = PlatformDevice::open(description.clone(), &machine, &Guest) {
        println!("refused: {refusal}");
    }

    println!("opening it:");
    machine.reset_works.set(true);
    let mut uart = PlatformDevice::open(description, &machine, &Guest)?;
    for byte in b"hello" {
        uart.write(0, 0, &[*byte])?;
    }
    println!("sent: {}", machine.sent.borrow());
    if let Err(refusal) = uart.write(0, 0x1000, &[0]) {
        println!("beyond its registers: {refusal}");
    }

    // A line that is triggered by its level is masked until the guest has seen to it.
    let request = |action| IrqRequest {
        index: 0,
        range: IrqRange { start: 0, count: 1 },
        action,
    };
    uart.set_irqs(&request(IrqAction::Signal(&[true])))?;
    println!("an interrupt arrives:");
    uart.set_irqs(&request(IrqAction::Trigger))?;
    uart.set_irqs(&request(IrqAction::Unmask))?;

    println!("closing:");
    uart.close()?;
    for lease in leases {
        lease.close()?;
    }
    Ok(())
}
