//! The interrupt handler and the owner at one line, under every interleaving that loom finds.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::*;
use crate::DeviceId;
use crate::device::IrqSink;

const ID: PlatformId = PlatformId(0);

#[derive(Clone, Copy, Default)]
struct State {
    connected: bool,
    masked: bool,
}

/// A controller with one line, which does one thing at a time, and counts signals too.
#[derive(Default)]
struct Controller {
    state: Mutex<State>,
    signals: AtomicU32,
}

impl Controller {
    fn set(&self, change: impl FnOnce(&mut State)) -> Result<(), Fault> {
        change(&mut self.state.lock().unwrap());
        Ok(())
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }

    fn signals(&self) -> u32 {
        self.signals.load(Ordering::SeqCst)
    }
}

impl PlatformBus for Controller {
    fn read(&self, _: HostPhys, _: Width) -> u32 {
        0
    }

    fn write(&self, _: HostPhys, _: Width, _: u32) {}

    fn reset(&self, _: PlatformId) -> Result<(), Fault> {
        Ok(())
    }

    fn connect(&self, _: PlatformId, _: u32, _: Trigger) -> Result<(), Fault> {
        self.set(|state| (state.connected, state.masked) = (true, false))
    }

    fn disconnect(&self, _: PlatformId, _: u32) -> Result<(), Fault> {
        self.set(|state| state.connected = false)
    }

    fn mask(&self, _: PlatformId, _: u32) -> Result<(), Fault> {
        self.set(|state| state.masked = true)
    }

    fn unmask(&self, _: PlatformId, _: u32) -> Result<(), Fault> {
        self.set(|state| state.masked = false)
    }
}

impl IrqSink for Controller {
    fn signal(&self, _: DeviceId, _: u32, _: u32) {
        self.signals.fetch_add(1, Ordering::SeqCst);
    }
}

fn line(trigger: Trigger) -> Arc<(Lines, Controller)> {
    Arc::new((Lines::new(ID, &[trigger]), Controller::default()))
}

/// A level-triggered line interrupts while its owner masks and unmasks it: it never ends masked at the controller alone,
/// since nobody would unmask it, and the interrupt is signalled or comes again.
#[test]
fn loom_a_level_against_mask_and_unmask() {
    loom::model(|| {
        let both = line(Trigger::Level);
        both.0.connect(0, &both.1).unwrap();
        let handler = {
            let both = Arc::clone(&both);
            thread::spawn(move || both.0.arrived(0, &both.1, &both.1).unwrap())
        };
        let (lines, controller) = &*both;
        lines.mask(0, controller).unwrap();
        lines.unmask(0, controller).unwrap();
        handler.join().unwrap();
        let masked = controller.state().masked;
        assert!(lines.masked(0) || !masked, "masked for ever");
        let signalled = controller.signals() == 1;
        assert!(signalled || !masked, "lost");
    });
}

/// A line is disconnected while it interrupts: nothing is signalled after that.
#[test]
fn loom_a_level_against_disconnect() {
    loom::model(|| {
        let both = line(Trigger::Level);
        both.0.connect(0, &both.1).unwrap();
        let handler = {
            let both = Arc::clone(&both);
            thread::spawn(move || both.0.arrived(0, &both.1, &both.1).unwrap())
        };
        let (lines, controller) = &*both;
        lines.disconnect(0, controller).unwrap();
        handler.join().unwrap();
        assert!(!controller.state().connected && !lines.masked(0));
        let before = controller.signals();
        lines.arrived(0, controller, controller).unwrap();
        assert_eq!(controller.signals(), before);
    });
}

/// The first edge after a line is connected is signalled, however early it comes.
#[test]
fn loom_the_first_edge_is_not_lost() {
    loom::model(|| {
        let both = line(Trigger::Edge);
        let handler = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let interrupts = both.1.state().connected;
                if interrupts {
                    both.0.arrived(0, &both.1, &both.1).unwrap();
                }
                interrupts
            })
        };
        both.0.connect(0, &both.1).unwrap();
        let came = handler.join().unwrap();
        assert_eq!(both.1.signals(), u32::from(came));
    });
}
