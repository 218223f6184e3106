//! Maps, unmaps, opens and closes of one domain over two IOMMU units that fail where the input says so: what devices
//! reach is what the domain says, whatever fails.

use vfio_core::addr::{HostPhys, Iova};
use vfio_core::cohort::Cohorts;
use vfio_core::domain::{IovaRange, SMALLEST, UnitId};
use vfio_core::lease::{CohortTable, Domain, DomainOptions, Lease, MapFailure, OpenFailure, UnmapFailure};
use vfio_core::pci::{Bdf, Function, PortKind, ResetMethods, Topology};
use vfio_core::{Access, DeviceId, Mapping, Owner};

use super::input::Input;
use super::units::Units;

const OWNER: Owner = Owner::Guest(1);
/// Mappings at most.
const LIMIT: usize = 12;

/// The devices: the first two are behind unit 0, the third behind unit 1, which has larger pages.
const DEVICES: u8 = 3;

fn bdf(number: u8) -> Bdf {
    Bdf::new(0, 0, number + 1, 0)
}

fn table() -> CohortTable<Units> {
    let functions = (0..DEVICES).map(|number| Function {
        resets: ResetMethods::FLR,
        ..Function::new(bdf(number), PortKind::RootComplexEndpoint)
    });
    let topology = Topology::new(functions.collect());
    let table = topology.map(|topology| CohortTable::new(Cohorts::new(&topology), Units::default()));
    let Ok(Ok(table)) = table else {
        panic!("the machine is sound")
    };
    table
}

/// Each step is a byte for what to do and one for which call fails, and what it needs.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let table = table();
    let options = DomainOptions {
        mappings: LIMIT,
        ..DomainOptions::default()
    };
    let Ok(domain) = table.domain_with(OWNER, Vec::new(), options) else {
        panic!("there is a domain")
    };
    let mut leases: [Option<Lease<'_, Units>>; DEVICES as usize] = [const { None }; DEVICES as usize];
    for _ in 0..100 {
        if input.is_empty() {
            break;
        }
        let (step, fail) = (input.u8(), input.u8());
        // Most steps work.
        table
            .platform()
            .fail((fail & 0xc0 == 0xc0).then_some(fail & 0xf), fail & 0x20 != 0);
        match step % 8 {
            0..=2 => map(&mut input, &domain),
            3 | 4 => unmap(&mut input, &domain, table.platform()),
            5 => drop(domain.unmap_all()),
            6 => open(&table, &domain, &mut leases, step / 8 % DEVICES),
            _ => {
                if let Some(lease) = leases
                    .get_mut(usize::from(step / 8 % DEVICES))
                    .and_then(Option::take)
                {
                    // A failure puts the cohort out of service.
                    let _ = lease.close();
                }
            }
        }
        table.platform().fail(None, false);
        compare(&domain, table.platform());
    }
}

fn map(input: &mut Input<'_>, domain: &Domain<'_, Units>) {
    let (page, pages) = (u64::from(input.u8()), u64::from(input.u8() % 32));
    let new = Mapping {
        iova: Iova(page * SMALLEST),
        host: HostPhys(u64::from(input.u16()) * SMALLEST),
        size: pages * SMALLEST,
        access: Access::READ | Access::WRITE,
    };
    let before = domain.mappings();
    match domain.map(new) {
        Ok(()) => assert_eq!(domain.find(new.iova), Some(new)),
        Err(MapFailure::Refused(_) | MapFailure::Fault { .. }) => assert_eq!(domain.mappings(), before),
        // It counts as mapped, so that nothing else comes there, and nobody is told that it works.
        Err(MapFailure::Poisoned { .. }) => {
            assert!(domain.mappings().contains(&new));
            assert_eq!(domain.find(new.iova), None);
        }
        Err(MapFailure::Busy) => panic!("nobody else is here"),
    }
}

fn unmap(input: &mut Input<'_>, domain: &Domain<'_, Units>, units: &Units) {
    let (page, pages) = (u64::from(input.u8()), u64::from(input.u8() % 64));
    let before = domain.mappings();
    let start = Iova(page * SMALLEST);
    match domain.unmap(start, pages * SMALLEST) {
        Ok(bytes) => {
            let after = domain.mappings();
            let sum = |mappings: &[Mapping]| mappings.iter().map(|mapping| mapping.size).sum::<u64>();
            assert_eq!(sum(&before) - sum(&after), bytes);
            // Memory that may be used for something else now is reached by nobody.
            if let Ok(range) = IovaRange::new(start, pages * SMALLEST) {
                let reached = units.reached();
                let met = reached
                    .iter()
                    .find(|(_, mapping)| mapping.range().is_ok_and(|other| other.meets(range)));
                assert_eq!(met, None);
            }
        }
        Err(UnmapFailure::Refused(_) | UnmapFailure::Poisoned { .. }) => {
            assert_eq!(domain.mappings(), before)
        }
        Err(other) => panic!("{other}"),
    }
}

fn open<'t>(
    table: &'t CohortTable<Units>,
    domain: &Domain<'t, Units>,
    leases: &mut [Option<Lease<'t, Units>>],
    number: u8,
) {
    let device = DeviceId::from(bdf(number));
    let Ok(plan) = table.plan_open(OWNER, &[device], false) else {
        return;
    };
    match table.open(&plan, domain) {
        Ok(mut opened) => {
            if let Some(slot) = leases.get_mut(usize::from(number)) {
                *slot = opened.pop();
            }
        }
        Err(OpenFailure::Domain(_) | OpenFailure::Failed(_) | OpenFailure::Broken { .. }) => {}
        Err(OpenFailure::Refused(refusal)) => panic!("{refusal}"),
    }
}

/// What a unit maps for a requester, the domain says too; and all of it, if nothing has failed so far.
fn compare(domain: &Domain<'_, Units>, units: &Units) {
    let mappings = domain.mappings();
    assert!(mappings.len() <= LIMIT);
    for pair in mappings.windows(2) {
        let [before, behind] = pair else { continue };
        assert!(
            before.last() < Some(behind.iova),
            "{before:?} and {behind:?} overlap"
        );
    }
    let reached = units.reached();
    for (_, mapping) in &reached {
        assert!(
            mappings.contains(mapping),
            "{mapping:?} is reached, and the domain does not know"
        );
    }
    if !units.has_failed() {
        for unit in units.in_use() {
            let there = reached
                .iter()
                .filter(|(other, _)| *other == unit)
                .map(|(_, mapping)| *mapping);
            assert_eq!(there.collect::<Vec<_>>(), mappings, "{unit}");
        }
    }
    assert!(units.in_use().iter().all(|unit| *unit <= UnitId(1)));
}
