//! The registry over units that do as they are told, or refuse.

use super::*;
use crate::addr::{HostPhys, Iova};
use crate::iommu::{FaultAccess, FaultReason};
use core::ops::Range;
use std::cell::RefCell;
use std::rc::Rc;
use vfio_core::Access;

/// What a unit was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Attach(DomainId, u16),
    Quarantine(u16),
    Map(DomainId),
    Unmap(DomainId),
    Release,
}

struct Fake {
    covers: Range<u16>,
    remaps: bool,
    refuses: Rc<RefCell<bool>>,
    told: Rc<RefCell<Vec<Told>>>,
    faults: Vec<FaultRecord>,
}

impl Fake {
    fn new(covers: Range<u16>) -> Self {
        Self {
            covers,
            remaps: false,
            refuses: Rc::default(),
            told: Rc::default(),
            faults: Vec::new(),
        }
    }

    fn say(&self, told: Told) -> Result<(), Fault> {
        self.told.borrow_mut().push(told);
        if *self.refuses.borrow() {
            Err(Fault::Rejected)
        } else {
            Ok(())
        }
    }
}

fn id(requester: Requester) -> u16 {
    requester.pci().unwrap().requester_id()
}

fn requester(id: u16) -> Requester {
    Requester::Pci { segment: 0, id }
}

// SAFETY: there is no memory behind it.
#[expect(unsafe_code, reason = "the trait is unsafe to implement")]
unsafe impl Unit for Fake {
    fn name(&self) -> alloc::string::String {
        "a fake".into()
    }

    fn covers(&self, requester: Requester) -> bool {
        self.covers.contains(&id(requester))
    }

    fn limits(&self) -> UnitLimits {
        UnitLimits::any()
    }

    fn reserved(&self, _: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        Ok(Vec::new())
    }

    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.say(Told::Attach(domain, id(requester)))
    }

    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault> {
        self.say(Told::Quarantine(id(requester)))
    }

    fn map(&mut self, domain: DomainId, _: Mapping) -> Result<(), Fault> {
        self.say(Told::Map(domain))
    }

    fn unmap(&mut self, domain: DomainId, _: IovaRange) -> Result<(), Fault> {
        self.say(Told::Unmap(domain))
    }

    fn commands(&self) -> u64 {
        self.told.borrow().len() as u64
    }

    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault> {
        if *self.refuses.borrow() {
            return Err(Fault::TimedOut);
        }
        let seen = self.faults.len() as u64;
        self.faults.drain(..).for_each(pass);
        Ok(Taken { seen, more: false })
    }

    fn remaps_interrupts(&self) -> bool {
        self.remaps
    }

    fn release(&mut self, _: Bdf) -> Result<(), Fault> {
        self.say(Told::Release)
    }
}

fn mapping() -> Mapping {
    Mapping {
        iova: Iova(0),
        host: HostPhys(0),
        size: 4096,
        access: Access::READ,
    }
}

#[test]
fn each_requester_is_the_first_units_that_covers_it() {
    let (a, b) = (Fake::new(0..10), Fake::new(5..20));
    let (told_a, told_b) = (Rc::clone(&a.told), Rc::clone(&b.told));
    let registry = Registry::new(vec![a, b]);
    let domain = registry.create_domain().unwrap();
    assert_eq!(registry.unit_of(requester(7)), Ok(UnitId(0)));
    assert_eq!(registry.unit_of(requester(12)), Ok(UnitId(1)));
    assert_eq!(registry.unit_of(requester(20)), Err(Fault::Unknown));
    assert_eq!(registry.attach(domain, requester(20)), Err(Fault::Unknown));
    registry.attach(domain, requester(7)).unwrap();
    registry.attach(domain, requester(12)).unwrap();
    registry.map(UnitId(1), domain, mapping()).unwrap();
    registry
        .unmap(UnitId(1), domain, mapping().range().unwrap())
        .unwrap();
    registry.quarantine(requester(12)).unwrap();
    assert_eq!(*told_a.borrow(), [Told::Attach(domain, 7)]);
    let expected = [
        Told::Attach(domain, 12),
        Told::Map(domain),
        Told::Unmap(domain),
        Told::Quarantine(12),
    ];
    assert_eq!(*told_b.borrow(), expected);
    assert_eq!(registry.commands(), 5);
    assert_eq!(registry.map(UnitId(2), domain, mapping()), Err(Fault::Unknown));
}

#[test]
fn a_domains_number_is_kept_while_anybody_may_be_in_it() {
    let fake = Fake::new(0..10);
    let refuses = Rc::clone(&fake.refuses);
    let registry = Registry::new(vec![fake]);
    let (domain, other) = (
        registry.create_domain().unwrap(),
        registry.create_domain().unwrap(),
    );
    assert_ne!(domain, other);
    *refuses.borrow_mut() = true;
    assert_eq!(registry.attach(domain, requester(1)), Err(Fault::Rejected));
    assert_eq!(
        registry.destroy_domain(domain),
        Err(Fault::Busy),
        "nobody knows whether it is inside"
    );
    assert_eq!(registry.quarantine(requester(1)), Err(Fault::Rejected));
    assert_eq!(registry.destroy_domain(domain), Err(Fault::Busy));
    *refuses.borrow_mut() = false;
    assert_eq!(
        registry.attach(other, requester(1)),
        Err(Fault::Busy),
        "it may be elsewhere"
    );
    registry.quarantine(requester(1)).unwrap();
    assert_eq!(registry.destroy_domain(domain), Ok(()));
    assert_eq!(registry.destroy_domain(domain), Err(Fault::Unknown));
    assert_eq!(registry.attach(domain, requester(1)), Err(Fault::Unknown));
    registry.attach(other, requester(1)).unwrap();
}

#[test]
fn a_requester_that_is_isolated_counts_as_attached_until_it_is_quarantined() {
    let fake = Fake::new(0..10);
    let told = Rc::clone(&fake.told);
    let registry = Registry::new(vec![fake]);
    let domain = registry.create_domain().unwrap();
    registry.attach(domain, requester(1)).unwrap();
    registry.isolate(requester(1)).unwrap();
    assert_eq!(told.borrow().last(), Some(&Told::Quarantine(1)));
    assert_eq!(registry.destroy_domain(domain), Err(Fault::Busy));
    registry.quarantine(requester(1)).unwrap();
    assert_eq!(registry.destroy_domain(domain), Ok(()));
    assert_eq!(registry.isolate(requester(11)), Err(Fault::Unknown));
}

#[test]
fn interrupts_are_isolated_only_where_every_unit_remaps_them() {
    let with = |remap: &[bool]| {
        let units = remap.iter().map(|&remaps| Fake {
            remaps,
            ..Fake::new(0..1)
        });
        Registry::new(units.collect::<Vec<_>>()).interrupts_isolated()
    };
    assert!(!with(&[]) && !with(&[false]) && !with(&[true, false]));
    assert!(with(&[true]) && with(&[true, true]));
}

#[test]
fn a_message_without_remapping_names_the_target_itself() {
    let registry = Registry::new(vec![Fake::new(0..10)]);
    let source = |id: u16| Source {
        function: Bdf::from_requester_id(0, id),
        requester: requester(id),
        entry: 0,
    };
    let target = |apic| Target { apic, vector: 0x41 };
    let expected = Message {
        address: 0xfee0_3000,
        data: 0x41,
    };
    assert_eq!(registry.route(source(3), target(3)), Ok(expected));
    assert_eq!(registry.route(source(3), target(256)), Err(Fault::BadAddress));
    assert_eq!(registry.route(source(11), target(3)), Err(Fault::Unknown));
}

#[test]
fn faults_of_all_units_are_counted_and_told_once_also_when_one_unit_is_gone() {
    let fault = |by, address| FaultRecord {
        requester: by,
        address: Some(Iova(address)),
        access: FaultAccess::Write,
        reason: FaultReason::NoMapping,
    };
    let (mut a, b, mut c) = (Fake::new(0..1), Fake::new(1..2), Fake::new(2..3));
    a.faults = vec![fault(Some(requester(0)), 0x5000); 1000];
    *b.refuses.borrow_mut() = true;
    let b_refuses = Rc::clone(&b.refuses);
    c.faults = vec![fault(Some(requester(2)), 0x5000), fault(None, 0x7000)];
    let registry = Registry::new(vec![a, b, c]);
    let (mut told, mut passed) = (Vec::new(), 0);
    let polled = registry.poll_faults(0, &mut |fault, verdict| {
        passed += 1;
        if verdict == Verdict::Report {
            told.push(fault);
        }
    });
    assert_eq!((polled, passed), (Err(Fault::TimedOut), 1002));
    let expected = [
        fault(Some(requester(0)), 0x5000),
        fault(Some(requester(2)), 0x5000),
        fault(None, 0x7000),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (registry.faults_of(requester(0)), registry.faults()),
        (1000, 1002)
    );
    *b_refuses.borrow_mut() = false;
    assert_eq!(registry.poll_faults(1, &mut |_, _| ()), Ok(Taken::default()));
}

/// Each of these would wait for ever for a lock that its own thread holds.
#[test]
fn a_unit_that_is_at_work_holds_up_nobody_behind_another() {
    let (slow, mut faulty) = (Fake::new(0..10), Fake::new(10..20));
    faulty.faults = vec![FaultRecord {
        requester: Some(requester(12)),
        address: None,
        access: FaultAccess::Unknown,
        reason: FaultReason::Unknown,
    }];
    let registry = Registry::new(vec![slow, faulty]);
    let domain = registry.create_domain().unwrap();
    assert_eq!(registry.unit_of(requester(12)), Ok(UnitId(1)));
    registry
        .on(UnitId(0), |_| {
            registry.attach(domain, requester(12))?;
            registry.quarantine(requester(12))
        })
        .unwrap();
    let mut told = 0;
    registry
        .poll_faults(0, &mut |_, _| told = registry.faults_of(requester(12)))
        .unwrap();
    assert_eq!(told, 1);
}

#[test]
fn what_no_unit_covers_is_assignable_to_nobody() {
    let registry = Registry::new(vec![Fake::new(0..10)]);
    let machine = vfio_core::testing::pci::Machine::new([(
        "00:01.0".parse().unwrap(),
        vfio_core::testing::pci::Model::endpoint(),
    )]);
    let functions = vfio_core::testing::pci::found(&machine).functions;
    let function = &functions[0];
    assert_eq!(registry.objection(function, &[requester(8)]), None);
    let none = Some(NotAssignable::NoIommu);
    assert_eq!(registry.objection(function, &[requester(8), requester(10)]), none);
    assert_eq!(registry.objection(function, &[]), none);
}
