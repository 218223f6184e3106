//! A PCI slot with two functions: half of it is refused, the whole is opened for one guest, refused to another, closed.
//!
//! `cargo run -p vfio-core --example pci_slot`

mod shared;

use std::error::Error;

use vfio_core::addr::{HostPhys, Iova};
use vfio_core::cohort::Cohorts;
use vfio_core::lease::CohortTable;
use vfio_core::pci::{Acs, AcsCapability, Bdf, BusRange, Function, PortKind, ResetMethods, Topology};
use vfio_core::{Access, DeviceId, Mapping, Owner};

fn main() -> Result<(), Box<dyn Error>> {
    // What discovery found: a root port, and below it one device with two functions that only a reset of the slot
    // reaches. A hypervisor gets this list from `pci::config::scan` and `to_topology`.
    let port = Bdf::new(0, 0, 0x1c, 0);
    let mut functions = vec![Function {
        buses: Some(BusRange {
            secondary: 1,
            subordinate: 1,
        }),
        acs: Some(AcsCapability::enabled(Acs::PORT)),
        ..Function::new(port, PortKind::RootPort)
    }];
    functions.extend((0..2).map(|number| Function {
        parent: Some(port),
        acs: Some(AcsCapability::enabled(Acs::FUNCTION)),
        resets: ResetMethods::BUS,
        ..Function::new(Bdf::new(0, 1, 0, number), PortKind::Endpoint)
    }));

    // Which devices come together: computed once, without touching any of them.
    let cohorts = Cohorts::new(&Topology::new(functions)?);
    for cohort in cohorts.iter() {
        println!("cohort of {} devices:", cohort.members().len());
        for link in cohort.links() {
            println!("  {link}");
        }
    }

    // From here on every device is quiet and reaches no memory.
    println!("taking over:");
    let table = CohortTable::new(cohorts, shared::Printing::default())?;
    let (first, second): (DeviceId, DeviceId) = (Bdf::new(0, 1, 0, 0).into(), Bdf::new(0, 1, 0, 1).into());
    let (guest, other) = (Owner::Guest(1), Owner::Guest(2));

    // Half of the slot is refused, and the refusal says what to ask for instead.
    if let Err(refusal) = table.plan_open(guest, &[first], false) {
        println!("{guest} asks for {first}: {refusal}");
    }

    // The whole: a plan, which does nothing yet, then the guest's memory as a domain, then the open.
    let plan = table.plan_open(guest, &[first, second], false)?;
    println!("{guest} asks for {first} and {second}:");
    let memory = Mapping {
        iova: Iova(0),
        host: HostPhys(0x4000_0000),
        size: 0x100_0000,
        access: Access::READ | Access::WRITE,
    };
    let domain = table.domain(guest, vec![memory])?;
    let leases = table.open(&plan, &domain)?;

    // The lease is the proof that the guest holds all of it; nobody else gets in.
    if let Err(refusal) = table.plan_open(other, &[first, second], false) {
        println!("{other} asks for the same: {refusal}");
    }

    // Closing says how it went. Dropping the lease would close as well.
    println!("closing:");
    for lease in leases {
        lease.close()?;
    }
    // No device reaches the guest's memory any more: it can be used for something else.
    // (The error would hand the domain back, to try again.)
    let memory = domain.close().map_err(|in_use| in_use.to_string())?;
    println!("{} region of memory is free again", memory.len());
    Ok(())
}
