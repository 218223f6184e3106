//! What an owner asks for, over a backend that fails where it is told to.

use super::super::*;
use crate::Fault;
use crate::device::{IrqAction, IrqError, IrqFlags, IrqRange, IrqRequest};
use crate::pci::config::{Function, Msi, MsiX, TableLocation};
use crate::testing::cases;
use crate::testing::pci::{Machine, Model, bdf, found};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

/// The hardware, as far as interrupts go.
#[derive(Default)]
struct Backend {
    kind: Option<IrqKind>,
    allocated: u32,
    connected: BTreeSet<u32>,
    line_open: bool,
    asserted: bool,
    signals: Vec<(u32, u32)>,
    most: u32,
    /// Calls that can fail until one does.
    fails_in: Option<u32>,
}

impl Backend {
    fn new() -> Self {
        Self {
            most: u32::MAX,
            ..Self::default()
        }
    }

    fn may_fail(&mut self) -> Result<(), Fault> {
        match &mut self.fails_in {
            Some(0) => {
                self.fails_in = None;
                Err(Fault::NoResources)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl IrqBackend for Backend {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        self.may_fail()?;
        assert!(self.kind.is_none_or(|one| one == kind), "two kinds at once");
        if count <= self.most {
            self.kind = Some(kind);
            self.allocated = count.max(self.allocated);
        }
        Ok(self.most.min(count))
    }
    fn free(&mut self, kind: IrqKind) {
        assert_eq!(self.kind.take(), Some(kind));
        assert!(self.connected.is_empty() && !self.line_open);
        self.allocated = 0;
    }
    fn connect(&mut self, kind: IrqKind, vector: u32, _: Option<Message>) -> Result<(), Fault> {
        assert!(self.kind == Some(kind) && vector < self.allocated);
        let result = self.may_fail();
        if result.is_ok() {
            self.connected.insert(vector)
        } else {
            self.connected.remove(&vector)
        };
        result
    }
    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        assert_eq!(self.kind, Some(kind));
        assert!(self.connected.remove(&vector), "{vector} is silent already");
    }
    fn hold_line(&mut self, held: bool) {
        assert_eq!(self.kind, Some(IrqKind::Intx));
        assert_eq!(held, self.line_open);
        self.line_open = !held;
    }
    fn line_asserted(&mut self) -> bool {
        self.asserted
    }
    fn signal(&mut self, index: u32, number: u32) {
        self.signals.push((index, number));
    }
}

fn function() -> Function {
    let model = Model::endpoint().express(0, 0);
    let machine = Machine::new([(bdf("00:04.0"), model)]);
    let mut function = found(&machine).functions.remove(0);
    function.interrupt_pin = 1;
    function.msi = Some(Msi {
        offset: 0x80,
        vectors: 4,
        address_64: true,
        maskable: true,
    });
    let location = TableLocation {
        bar: 0,
        offset: 0,
        length: 16,
    };
    function.msix = Some(MsiX {
        offset: 0xa0,
        vectors: 8,
        table: location,
        pending: location,
    });
    function
}

fn request(index: u32, start: u32, count: u32, action: IrqAction<'_>) -> IrqRequest<'_> {
    IrqRequest {
        index,
        range: IrqRange { start, count },
        action,
    }
}

const OFF: IrqAction<'_> = IrqAction::Disable;

#[test]
fn a_function_says_what_it_has() {
    let irqs = Irqs::new(&function(), true, false);
    let counts: Vec<_> = (0..6)
        .map(|index| irqs.info(index).map(|info| info.count))
        .collect();
    assert_eq!(counts, [Some(1), Some(4), Some(8), Some(1), Some(1), None]);
    assert!(
        irqs.info(0)
            .unwrap()
            .flags
            .contains(IrqFlags::MASKABLE | IrqFlags::AUTOMASKED)
    );
    assert!(irqs.info(2).unwrap().flags.contains(IrqFlags::FIXED_COUNT));
    assert!(
        !Irqs::new(&function(), true, true)
            .info(2)
            .unwrap()
            .flags
            .contains(IrqFlags::FIXED_COUNT)
    );
    assert_eq!(Irqs::new(&function(), false, false).info(0).unwrap().count, 0);
    let mut broken = function();
    (broken.vendor, broken.device) = (0x8086, 0x1572);
    assert_eq!(Irqs::new(&broken, true, false).info(0).unwrap().count, 0);
    broken.device = 1;
    broken.interrupt_pin = 0;
    assert_eq!(Irqs::new(&broken, true, false).info(0).unwrap().count, 0);
}

#[test]
fn one_kind_at_a_time() {
    let (mut irqs, mut backend) = (Irqs::new(&function(), true, false), Backend::new());
    irqs.set(
        &request(index::MSI, 0, 2, IrqAction::Signal(&[true, false])),
        &mut backend,
    )
    .unwrap();
    assert_eq!((irqs.active(), irqs.allocated()), (Some(IrqKind::Msi), 2));
    for other in [index::INTX, index::MSIX] {
        let refused = irqs.set(&request(other, 0, 1, IrqAction::Signal(&[true])), &mut backend);
        assert_eq!(refused, Err(IrqError::OtherInUse(index::MSI)));
        assert_eq!(
            irqs.set(&request(other, 0, 0, OFF), &mut backend),
            Err(IrqError::OtherInUse(index::MSI))
        );
    }
    // MSI's count is fixed, and it cannot be masked here.
    let more = irqs.set(
        &request(index::MSI, 2, 1, IrqAction::Signal(&[true])),
        &mut backend,
    );
    assert_eq!(
        more,
        Err(IrqError::Outside {
            start: 2,
            count: 1,
            available: 2
        })
    );
    assert_eq!(
        irqs.set(&request(index::MSI, 0, 1, IrqAction::Mask), &mut backend),
        Err(IrqError::Unsupported)
    );
    irqs.set(&request(index::MSI, 0, 2, IrqAction::Trigger), &mut backend)
        .unwrap();
    assert_eq!(backend.signals, [(index::MSI, 0)], "only those with a sink");
    assert!(irqs.arrived(IrqKind::Msi, 0, &mut backend));
    assert!(irqs.arrived(IrqKind::Msi, 1, &mut backend));
    assert!(!irqs.arrived(IrqKind::Msi, 2, &mut backend));
    assert!(!irqs.arrived(IrqKind::MsiX, 0, &mut backend));
    assert_eq!(backend.signals, [(index::MSI, 0), (index::MSI, 0)]);
    irqs.set(&request(index::MSI, 0, 0, OFF), &mut backend).unwrap();
    irqs.set(&request(index::MSI, 0, 0, OFF), &mut backend).unwrap();
    assert_eq!((irqs.active(), backend.kind), (None, None));
    let unused = irqs.set(&request(index::MSI, 0, 1, IrqAction::Trigger), &mut backend);
    assert!(matches!(unused, Err(IrqError::Outside { available: 0, .. })));
}

#[test]
fn fewer_vectors_are_an_answer() {
    let (mut irqs, mut backend) = (Irqs::new(&function(), true, false), Backend::new());
    backend.most = 3;
    let all = request(index::MSIX, 0, 8, IrqAction::Signal(&[true; 8]));
    assert_eq!(irqs.set(&all, &mut backend), Err(IrqError::Fewer(3)));
    assert_eq!((irqs.active(), backend.kind), (None, None));
    irqs.set(
        &request(index::MSIX, 1, 2, IrqAction::Signal(&[true; 2])),
        &mut backend,
    )
    .unwrap();
    assert_eq!(backend.connected, BTreeSet::from([1, 2]));
}

#[test]
fn msix_grows_where_it_can() {
    let (mut irqs, mut backend) = (Irqs::new(&function(), true, true), Backend::new());
    irqs.set(
        &request(index::MSIX, 0, 1, IrqAction::Signal(&[true])),
        &mut backend,
    )
    .unwrap();
    irqs.set(
        &request(index::MSIX, 6, 2, IrqAction::Signal(&[false, true])),
        &mut backend,
    )
    .unwrap();
    assert_eq!(irqs.allocated(), 8);
    assert_eq!(backend.connected, BTreeSet::from([0, 7]));
    irqs.set(
        &request(index::MSIX, 0, 2, IrqAction::Signal(&[false, true])),
        &mut backend,
    )
    .unwrap();
    assert_eq!(backend.connected, BTreeSet::from([1, 7]));
}

#[test]
fn intx_is_held_back_until_unmasked_and_signalled_again() {
    let (mut irqs, mut backend) = (Irqs::new(&function(), true, false), Backend::new());
    let set = |irqs: &mut Irqs, backend: &mut Backend, action| irqs.set(&request(0, 0, 1, action), backend);
    assert!(
        set(&mut irqs, &mut backend, IrqAction::Mask).is_err(),
        "not in use"
    );
    irqs.line_disabled(true, &mut backend);
    set(&mut irqs, &mut backend, IrqAction::Signal(&[true])).unwrap();
    assert!(!backend.line_open, "the guest holds it back");
    irqs.line_disabled(false, &mut backend);
    assert!(backend.line_open);
    assert!(
        !irqs.arrived(IrqKind::Intx, 0, &mut backend),
        "another's on a shared line"
    );
    backend.asserted = true;
    assert!(irqs.arrived(IrqKind::Intx, 0, &mut backend));
    assert!(!backend.line_open);
    assert_eq!(backend.signals.len(), 1);
    set(&mut irqs, &mut backend, IrqAction::Unmask).unwrap();
    assert_eq!(backend.signals.len(), 2, "it is still there");
    assert!(!backend.line_open);
    backend.asserted = false;
    set(&mut irqs, &mut backend, IrqAction::Unmask).unwrap();
    assert!(backend.line_open);
    set(&mut irqs, &mut backend, IrqAction::Mask).unwrap();
    assert!(!backend.line_open);
    set(&mut irqs, &mut backend, IrqAction::Trigger).unwrap();
    assert_eq!(backend.signals.len(), 3);
    // Without a sink the line is held back, and a loop-back goes nowhere.
    set(&mut irqs, &mut backend, IrqAction::Unmask).unwrap();
    set(&mut irqs, &mut backend, IrqAction::Signal(&[false])).unwrap();
    assert!(!backend.line_open && irqs.active() == Some(IrqKind::Intx));
    set(&mut irqs, &mut backend, IrqAction::Trigger).unwrap();
    assert_eq!(backend.signals.len(), 3);
    irqs.close(&mut backend);
    assert_eq!(irqs.active(), None);
}

#[test]
fn errors_and_requests_have_a_sink_each() {
    let (mut irqs, mut backend) = (Irqs::new(&function(), true, false), Backend::new());
    for index in [index::ERROR, index::REQUEST] {
        irqs.set(&request(index, 0, 1, IrqAction::Trigger), &mut backend)
            .unwrap();
        assert!(!irqs.event(index, &mut backend));
        irqs.set(&request(index, 0, 1, IrqAction::Signal(&[true])), &mut backend)
            .unwrap();
        irqs.set(&request(index, 0, 1, IrqAction::Trigger), &mut backend)
            .unwrap();
        assert!(irqs.event(index, &mut backend));
        assert!(
            irqs.set(&request(index, 0, 1, IrqAction::Unmask), &mut backend)
                .is_err()
        );
    }
    let both = [(3, 0), (3, 0), (4, 0), (4, 0)];
    assert_eq!(backend.signals, both);
    irqs.set(&request(index::ERROR, 0, 0, OFF), &mut backend).unwrap();
    assert!(!irqs.event(index::ERROR, &mut backend));
    irqs.close(&mut backend);
    assert!(!irqs.event(index::REQUEST, &mut backend));
    assert!(!irqs.event(index::MSI, &mut backend));
}

fn action() -> impl Strategy<Value = (u8, Vec<bool>)> {
    (0..5u8, prop::collection::vec(any::<bool>(), 0..9))
}

proptest! {
    #![proptest_config(cases(256))]

    /// After any requests, with a failure somewhere: the hardware has exactly the vectors that have a sink, a request that failed
    /// changed nothing, and the end leaves nothing behind.
    #[test]
    fn the_hardware_has_what_was_asked(
        grows in any::<bool>(),
        most in prop_oneof![Just(u32::MAX), 0u32..9],
        requests in prop::collection::vec((0u32..6, prop_oneof![0u32..10, any::<u32>()], 0u32..10, action(), prop::option::of(0u32..6)), 1..40),
    ) {
        let (mut irqs, mut backend) = (Irqs::new(&function(), true, grows), Backend::new());
        backend.most = most;
        let mut sinks: BTreeSet<u32> = BTreeSet::new();
        let mut kind = None;
        for (index, start, count, (action, flags), fails_in) in requests {
            backend.fails_in = fails_in;
            let action = match action {
                0 | 1 => IrqAction::Signal(&flags),
                2 => IrqAction::Disable,
                3 => IrqAction::Trigger,
                _ => if count % 2 == 0 { IrqAction::Mask } else { IrqAction::Unmask },
            };
            let result = irqs.set(&request(index, start, count, action), &mut backend);
            match (result, action) {
                (Ok(()), IrqAction::Signal(flags)) if index < 3 => {
                    kind = Some(index);
                    for (vector, sink) in (start..).zip(flags) {
                        if *sink { sinks.insert(vector); } else { sinks.remove(&vector); }
                    }
                }
                (Ok(()), IrqAction::Disable) if index < 3 => { kind = None; sinks.clear(); }
                // A vector that was programmed again and refused is silent.
                (Err(IrqError::Fault(_)), _) => {
                    prop_assert!(sinks.difference(&backend.connected).count() <= 1);
                    sinks.retain(|vector| backend.connected.contains(vector));
                }
                _ => {}
            }
            prop_assert_eq!(&backend.connected, &sinks);
            prop_assert_eq!(irqs.active().map(|kind| kind as u32), kind);
            prop_assert_eq!(backend.kind, irqs.active());
            if kind == Some(0) {
                prop_assert_eq!(backend.line_open, irqs.line().held().is_empty());
            }
        }
        backend.fails_in = None;
        irqs.close(&mut backend);
        prop_assert!(backend.kind.is_none() && backend.connected.is_empty());
    }
}
