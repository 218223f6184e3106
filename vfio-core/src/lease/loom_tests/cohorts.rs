//! Opens, resets, repairs and removals of cohorts that meet.

use super::*;
use crate::lease::{RepairError, ResetFailure};
use crate::set::OpenError;

#[test]
fn loom_two_owners_want_one_cohort() {
    loom::model(|| {
        let (table, device) = one_device();
        let table = Arc::new(table);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open_and_close(&table, Owner::Guest(2), device))
        };
        let mine = open_and_close(&table, Owner::Guest(1), device);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must win");
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    });
}

/// One owner wants a physical function, another its virtual function: never both at once. (Both may be refused.)
#[test]
fn loom_a_physical_function_and_its_virtual_function() {
    loom::model(|| {
        let port = Bdf::new(0, 0, 1, 0);
        let (physical, virtual_function) = (Bdf::new(0, 1, 0, 0), Bdf::new(0, 1, 0, 1));
        let below = |bdf| Function {
            parent: Some(port),
            resets: ResetMethods::FLR,
            ..Function::new(bdf, PortKind::Endpoint)
        };
        let functions = Vec::from([
            Function {
                buses: Some(BusRange {
                    secondary: 1,
                    subordinate: 1,
                }),
                acs: Some(crate::pci::AcsCapability::enabled(crate::pci::Acs::PORT)),
                ..Function::new(port, PortKind::RootPort)
            },
            below(physical),
            Function {
                physical_function: Some(physical),
                ..below(virtual_function)
            },
        ]);
        let cohorts = Cohorts::new(&Topology::new(functions).unwrap());
        assert_eq!(cohorts.iter().count(), 2);
        // The platform holds that nobody else has anything open while it opens.
        let table = Arc::new(CohortTable::new(cohorts, Platform::default()).unwrap());
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open_and_close(&table, Owner::Guest(2), virtual_function.into()))
        };
        open_and_close(&table, Owner::Guest(1), physical.into());
        other.join().unwrap();
        for device in [physical, virtual_function] {
            let cohort = table.cohorts().cohort_of(device.into()).unwrap().id();
            assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
        }
    });
}

/// A reset that the owner asks for, and somebody who removes the device: in the end it is closed and gone.
#[test]
fn loom_reset_and_remove() {
    loom::model(|| {
        let bdf = Bdf::new(0, 0, 3, 0);
        let resets = ResetMethods::FLR;
        let function = Function {
            resets,
            ..Function::new(bdf, PortKind::RootComplexEndpoint)
        };
        let cohorts = Cohorts::new(&Topology::new(Vec::from([function])).unwrap());
        let table = Arc::new(CohortTable::new(cohorts, Platform::default()).unwrap());
        let owner = Owner::Guest(1);
        let remover = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(bdf.into()).is_ok())
        };
        {
            let domain = table.domain(owner, Vec::new()).unwrap();
            let leases = table
                .plan_open(owner, &[bdf.into()], false)
                .map(|plan| table.open(&plan, &domain));
            if let Ok(Ok(leases)) = leases {
                leases[0].reset_device(bdf.into(), Patience::NONE).unwrap();
            }
        }
        let gone = remover.join().unwrap();
        assert!(gone || table.remove(bdf.into()).is_ok());
        assert!(table.sets().is_empty());
    });
}

/// A cohort that is out of service is repaired by two CPUs, while an owner wants it: one repairs it, and the owner gets it
/// after that or not at all.
#[test]
fn loom_repair_against_repair_and_open() {
    // Three threads: more preemptions than these add time and nothing else.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let platform = Platform::default();
        platform.noisy.store(1, Ordering::SeqCst);
        let (table, device) = one_device_on(platform);
        let table = Arc::new(table);
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        assert!(matches!(table.state(cohort), Some(CohortState::Broken(_))));
        let repair = move |table: &CohortTable<Platform>| match table.repair(cohort) {
            Ok(()) => true,
            Err(RepairError::NotBroken(_)) => false,
            Err(other) => panic!("{other}"),
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || repair(&table))
        };
        let owner = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let owner = Owner::Guest(1);
                let domain = table.domain(owner, Vec::new()).unwrap();
                match table.plan_open(owner, &[device], false) {
                    Ok(plan) => drop(table.open(&plan, &domain).unwrap()),
                    Err(Refusal::Broken { .. } | Refusal::Busy { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            })
        };
        let mine = repair(&table);
        let theirs = other.join().unwrap();
        owner.join().unwrap();
        assert_ne!(mine, theirs, "one of them repairs it");
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    });
}

/// A repair, and somebody who removes the device: in the end it is gone.
#[test]
fn loom_repair_against_remove() {
    loom::model(|| {
        let platform = Platform::default();
        platform.noisy.store(1, Ordering::SeqCst);
        let (table, device) = one_device_on(platform);
        let table = Arc::new(table);
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        let remover = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(device).is_ok())
        };
        // Refused while the remover has the devices; what is broken stays so then.
        let repaired = table.repair(cohort);
        assert!(matches!(
            repaired,
            Ok(()) | Err(RepairError::NotBroken(CohortState::Broken(_)))
        ));
        let gone = remover.join().unwrap();
        assert!(gone || table.remove(device).is_ok());
        assert!(table.sets().is_empty());
    });
}

/// The owner resets the device while another of its CPUs opens and closes it once more.
#[test]
fn loom_reset_against_handle() {
    loom::model(|| {
        let (table, device) = one_device();
        let kept = Arc::new(table);
        let table = lend(&kept);
        let owner = Owner::Guest(1);
        let domain = table.domain(owner, Vec::new()).unwrap();
        let plan = table.plan_open(owner, &[device], false).unwrap();
        let lease = Arc::new(table.open(&plan, &domain).unwrap().pop().unwrap());
        let other = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || match lease.handle(device, Patience::NONE) {
                Ok(handle) => drop(handle),
                Err(OpenError::Resetting) => {}
                Err(other) => panic!("{other}"),
            })
        };
        match lease.reset_device(device, Patience::NONE) {
            Ok(()) | Err(ResetFailure::Busy(_)) => {}
            Err(other) => panic!("{other}"),
        }
        other.join().unwrap();
        assert_eq!(table.state(lease.cohort()), Some(CohortState::Open(owner)));
        drop(lease);
        drop(domain);
        drop(kept);
    });
}

/// Two resets of one open device: they never overlap, and one of them is done.
#[test]
fn loom_reset_against_reset() {
    loom::model(|| {
        let (table, device) = one_device();
        let kept = Arc::new(table);
        let table = lend(&kept);
        let owner = Owner::Guest(1);
        let domain = table.domain(owner, Vec::new()).unwrap();
        let plan = table.plan_open(owner, &[device], false).unwrap();
        let lease = Arc::new(table.open(&plan, &domain).unwrap().pop().unwrap());
        let reset = move |lease: &crate::lease::Lease<'_, Platform>| match lease
            .reset_device(device, Patience::NONE)
        {
            Ok(()) => true,
            Err(ResetFailure::Busy(_)) => false,
            Err(other) => panic!("{other}"),
        };
        let other = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || reset(&lease))
        };
        let mine = reset(&lease);
        let theirs = other.join().unwrap();
        assert!(mine || theirs);
        drop(lease);
        drop(domain);
        drop(kept);
    });
}
