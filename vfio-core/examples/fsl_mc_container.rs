//! An fsl-mc container with a network interface and its command portal: one of the objects alone is refused, the container is opened
//! whole and closed.
//!
//! `cargo run -p vfio-core --example fsl_mc_container`

mod shared;

use std::error::Error;

use vfio_core::cohort::{Cohorts, Inventory, Member, SetReset, SetScope};
use vfio_core::fsl_mc::{ObjectId, ObjectType};
use vfio_core::lease::CohortTable;
use vfio_core::{DeviceId, Owner, SetId};

/// The isolation context of the container: who the IOMMU takes all of its objects for.
const ICID: u16 = 7;

const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

fn main() -> Result<(), Box<dyn Error>> {
    // What a scan of the Management Complex found: the container dprc.2 with two objects in it. A hypervisor gets this list
    // from `fsl_mc::scan`.
    let container = object(ObjectType::Dprc, 2);
    let (port, portal) = (object(ObjectType::Dpni, 1), object(ObjectType::Dpmcp, 4));
    let mut inventory = Inventory::new();
    for found in [container, port, portal] {
        inventory.add(Member::fsl_mc(found, container, ICID));
    }
    // One command resets the container with all that is directly in it.
    inventory.reset_set(
        SetId::Dprc(container),
        SetScope {
            by: SetReset::Container(container),
            obstacle: None,
        },
    );
    let cohorts = Cohorts::build(inventory)?;
    println!("taking over:");
    let table = CohortTable::new(cohorts, shared::Printing::default())?;

    // The objects of a container share its isolation context: the IOMMU cannot tell them apart.
    let guest = Owner::Guest(1);
    let port: DeviceId = port.into();
    if let Err(refusal) = table.plan_open(guest, &[port], false) {
        println!("{guest} asks for {port}: {refusal}");
    }

    let all: [DeviceId; 3] = [container.into(), portal.into(), port];
    let plan = table.plan_open(guest, &all, false)?;
    println!("{guest} asks for the whole container:");
    let domain = table.domain(guest, vec![])?;
    let leases = table.open(&plan, &domain)?;
    println!("closing:");
    for lease in leases {
        lease.close()?;
    }
    Ok(())
}
