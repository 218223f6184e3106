//! What vCPUs do at the same time, in every order: senders against a collection, and falling asleep against waking up.

use super::*;
use crate::sync::{AtomicBool, Ordering};
use loom::sync::Arc;
use loom::thread;

fn to(id: u32, delivery: Delivery) -> Message {
    Message {
        destination: Destination::Physical(id),
        delivery,
    }
}

/// Explores with at most three preemptions, which is where faults of two threads show.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

fn listening(id: u8) -> LocalApic {
    let mut apic = LocalApic::new(id);
    let _ = apic.write(spec::lapic::register::SPURIOUS, 0x1ff, 0);
    apic
}

/// What was not collected has a kick on its way that comes after the collection began.
#[test]
fn no_message_is_left_without_a_kick() {
    model(|| {
        let bus = Arc::new(ApicBus::new(2));
        let interrupt = Arc::new(AtomicBool::new(false));
        let sender = {
            let (bus, interrupt) = (bus.clone(), interrupt.clone());
            thread::spawn(move || {
                for vector in [0x20, 0x21] {
                    bus.send(Some(0), to(1, Delivery::Fixed(vector)), false);
                    if bus.take_kicks() != 0 {
                        // Not a store: loom may not let even its own thread see one after another's swap.
                        interrupt.swap(true, Ordering::AcqRel);
                    }
                }
            })
        };
        let mut apic = listening(1);
        // The CPU takes its interrupts, then collects: as before each entry.
        interrupt.swap(false, Ordering::AcqRel);
        bus.collect(&mut apic);
        sender.join().unwrap();
        let got = (apic.requested.has(0x20), apic.requested.has(0x21));
        assert!(
            got == (true, true) || interrupt.load(Ordering::Acquire),
            "{got:?}"
        );
        // And that kick finds the rest.
        bus.collect(&mut apic);
        assert!(apic.requested.has(0x20) && apic.requested.has(0x21));
    });
}

/// Of two events at once none is lost, and a start-up before an INIT does not survive it.
#[test]
fn events_of_two_senders_meet() {
    model(|| {
        let bus = Arc::new(ApicBus::new(3));
        let other = {
            let bus = bus.clone();
            thread::spawn(move || {
                bus.send(Some(2), to(1, Delivery::Nmi), false);
            })
        };
        bus.send(Some(0), to(1, Delivery::StartUp(7)), false);
        bus.send(Some(0), to(1, Delivery::Init), false);
        other.join().unwrap();
        let events = bus.collect(&mut LocalApic::new(1));
        assert_eq!((events.init, events.start_up, events.nmi), (true, None, true));
    });
}

/// Both sleep at the end, but one was sent something that it has not taken: neither may believe that all is over.
#[test]
fn nobody_is_given_up_while_a_message_is_on_its_way() {
    model(|| {
        let bus = Arc::new(ApicBus::new(2));
        assert!(!bus.sleep(1));
        let woken = {
            let bus = bus.clone();
            thread::spawn(move || {
                bus.wake(1);
                if bus.collect(&mut LocalApic::new(1)).nmi {
                    bus.send(Some(1), to(0, Delivery::Nmi), false);
                }
                bus.sleep(1)
            })
        };
        bus.send(Some(0), to(1, Delivery::Nmi), false);
        let over = bus.sleep(0);
        assert!(!over && !woken.join().unwrap());
    });
}
