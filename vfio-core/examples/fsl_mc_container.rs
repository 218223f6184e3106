//! An fsl-mc container with a network interface, its command portal, and a container inside: one of the objects alone is refused,
//! all of it is opened, reset as its owner asks, and closed.
//!
//! `cargo run -p vfio-core --example fsl_mc_container`

mod shared;

use std::error::Error;

use vfio_core::cohort::{Cohorts, Inventory};
use vfio_core::fsl_mc::{self, Member, Nesting, ObjectId, ObjectType, SetReset};
use vfio_core::lease::CohortTable;
use vfio_core::set::Patience;
use vfio_core::{DeviceId, Owner};

const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

/// An object in a container, which has the isolation context `icid`: who the IOMMU takes it for.
const fn member(id: ObjectId, container: ObjectId, icid: u16) -> Member {
    Member {
        id,
        container,
        icid: Some(icid),
        coherent: true,
        not_assignable: None,
    }
}

/// What a scan of the Management Complex found. A hypervisor gets it from `fsl_mc::scan` and `fsl_mc::inventory`.
fn found() -> fsl_mc::Inventory {
    let (outer, inner) = (object(ObjectType::Dprc, 2), object(ObjectType::Dprc, 3));
    let reset = |container| SetReset {
        container,
        recursive: false,
    };
    fsl_mc::Inventory {
        members: vec![
            member(outer, outer, 7),
            member(object(ObjectType::Dpni, 1), outer, 7),
            member(object(ObjectType::Dpmcp, 4), outer, 7),
            member(inner, inner, 8),
        ],
        nestings: vec![Nesting {
            inner,
            outer,
            inner_member: inner,
            outer_member: outer,
        }],
        resets: vec![reset(outer), reset(inner)],
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut inventory = Inventory::new();
    inventory.add_fsl_mc(&found());
    let cohorts = Cohorts::build(inventory)?;
    println!("taking over:");
    let table = CohortTable::new(cohorts, shared::Printing::default())?;

    // Whoever has one object can reach the others by the IOMMU or by a reset; whoever has a container, what is inside.
    let guest = Owner::Guest(1);
    let port: DeviceId = object(ObjectType::Dpni, 1).into();
    if let Err(refusal) = table.plan_open(guest, &[port], false) {
        println!("{guest} asks for {port}: {refusal}");
    }

    let all: Vec<DeviceId> = table.cohorts().devices().iter().map(|device| device.id).collect();
    let plan = table.plan_open(guest, &all, false)?;
    println!("{guest} asks for all of it:");
    let domain = table.domain(guest, vec![])?;
    let leases = table.open(&plan, &domain)?;
    println!("resetting the outer container and nothing inside:");
    let hot = table.plan_hot_reset(guest, port)?;
    for lease in &leases {
        lease.hot_reset(&hot, Patience::NONE)?;
    }
    println!("closing:");
    for lease in leases {
        lease.close()?;
    }
    Ok(())
}
