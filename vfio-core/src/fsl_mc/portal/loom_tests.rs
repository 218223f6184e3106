//! Two CPUs want one portal, under every interleaving that loom finds.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use super::*;

/// Notes how many CPUs are at the registers.
#[derive(Clone)]
struct Window(Arc<AtomicUsize>);

impl PortalRegisters for Window {
    fn read(&mut self, _: usize) -> u64 {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two CPUs in one portal");
        thread::yield_now();
        self.0.fetch_sub(1, Ordering::SeqCst);
        0
    }

    fn write(&mut self, _: usize, _: u64) {}
}

/// Time goes on when somebody waits.
#[derive(Clone)]
struct Ticks(Arc<AtomicU64>);

impl Clock for Ticks {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn wait(&self, nanoseconds: u64) {
        self.0.fetch_add(nanoseconds, Ordering::SeqCst);
        thread::yield_now();
    }
}

/// Each has it alone or is refused after its time, and afterwards it is free.
#[test]
fn loom_two_cpus_want_one_portal() {
    fn visit(portal: &SharedPortal<Window, Ticks>) -> bool {
        match portal.acquire() {
            Ok(mut portal) => {
                portal.registers.read(0);
                true
            }
            Err(PortalError::InUse) => false,
            Err(other) => panic!("{other}"),
        }
    }
    loom::model(|| {
        let (window, ticks) = (Window(Arc::default()), Ticks(Arc::default()));
        let portal = Portal::new(window, ticks).with_limit(MILLISECOND / 5);
        let portal = Arc::new(SharedPortal::new(portal));
        let other = {
            let portal = Arc::clone(&portal);
            thread::spawn(move || visit(&portal))
        };
        let mine = visit(&portal);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must get it");
        assert!(visit(&portal), "it was given back");
    });
}
