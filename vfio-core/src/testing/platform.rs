//! A platform that records every call, keeps a view of the hardware, and fails where it is told to.
//!
//! It also holds the callers to what hardware relies on: no domain is destroyed under a requester, nobody is
//! attached from another domain, nothing is opened or given interrupts twice, no lock is held meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::cohort::ResetAction;
use crate::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use crate::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create(Owner),
    Destroy(DomainId),
    Map(DomainId, Mapping),
    Attach(Requester),
    Quarantine(Requester),
    Quiesce(DeviceId),
    Reset(DeviceId),
    CheckAlive(DeviceId),
    Open(DeviceId),
    Close(DeviceId),
    Enable(DeviceId),
    Release(DeviceId),
    Restore(DeviceId),
}

/// What the hardware looks like to somebody who comes afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) attached: BTreeMap<Requester, DomainId>,
    pub(crate) domains: BTreeMap<DomainId, Vec<u64>>,
    pub(crate) live: BTreeSet<DeviceId>,
    pub(crate) opened: BTreeMap<DeviceId, Owner>,
    pub(crate) interrupts: BTreeMap<DeviceId, Owner>,
}

#[derive(Default)]
struct Inner {
    view: View,
    trace: Vec<(Call, bool)>,
    /// Numbers of the calls, from the last [`Recorder::fail_at`] on, that fail.
    failing: BTreeSet<usize>,
    calls: usize,
    next_domain: u32,
    /// Devices whose close failed.
    failed_closes: Vec<DeviceId>,
    /// The call that waits until it is let go, and whether it is there.
    gate: Option<(Call, bool)>,
}

#[derive(Default)]
pub(crate) struct Recorder {
    inner: Mutex<Inner>,
    moved: Condvar,
    remaps_interrupts: bool,
}

impl Recorder {
    pub(crate) fn with_remapping() -> Self {
        Self {
            remaps_interrupts: true,
            ..Self::default()
        }
    }

    /// An assertion that failed under the lock must not hide behind the poison it leaves.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> View {
        self.lock().view.clone()
    }

    /// The calls since the last time, each with whether it succeeded.
    pub(crate) fn take_trace(&self) -> Vec<(Call, bool)> {
        std::mem::take(&mut self.lock().trace)
    }

    /// Lets the calls with these numbers fail, counted from now.
    pub(crate) fn fail_at(&self, calls: impl IntoIterator<Item = usize>) {
        let mut inner = self.lock();
        inner.calls = 0;
        inner.failing = calls.into_iter().collect();
    }

    /// Lets the next call of this kind wait until [`let_go`](Self::let_go).
    pub(crate) fn hold_up(&self, call: Call) {
        self.lock().gate = Some((call, false));
    }

    /// Returns when the call that is to be held up has come.
    pub(crate) fn await_held_up(&self) {
        let mut inner = self.lock();
        while !inner.gate.is_some_and(|(_, there)| there) {
            inner = self.moved.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn let_go(&self) {
        self.lock().gate = None;
        self.moved.notify_all();
    }

    /// Forgets that devices are open whose close failed: by the contract of a close they count as closed.
    pub(crate) fn settle(&self) {
        let mut inner = self.lock();
        let closed = core::mem::take(&mut inner.failed_closes);
        for device in closed {
            inner.view.opened.remove(&device);
        }
    }

    fn pass_gate(&self, call: Call) {
        let mut inner = self.lock();
        if inner.gate == Some((call, false)) {
            inner.gate = Some((call, true));
            self.moved.notify_all();
            while inner.gate.is_some() {
                inner = self.moved.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn call(&self, call: Call, effect: impl FnOnce(&mut View)) -> Result<(), Fault> {
        crate::sync::assert_unlocked();
        self.pass_gate(call);
        let mut inner = self.lock();
        let number = inner.calls;
        inner.calls += 1;
        let ok = !inner.failing.contains(&number);
        inner.trace.push((call, ok));
        if !ok {
            if let Call::Close(device) = call {
                inner.failed_closes.push(device);
            }
            return Err(Fault::TimedOut);
        }
        effect(&mut inner.view);
        Ok(())
    }
}

#[expect(unsafe_code, reason = "a recording has no memory to protect")]
// SAFETY: nothing here can reach memory.
unsafe impl DmaDomains for Recorder {
    fn create_domain(&self, owner: Owner) -> Result<DomainId, Fault> {
        let id = {
            let mut inner = self.lock();
            inner.next_domain += 1;
            DomainId(inner.next_domain)
        };
        self.call(Call::Create(owner), |view| {
            assert!(view.domains.insert(id, Vec::new()).is_none())
        })?;
        Ok(id)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.call(Call::Destroy(domain), |view| {
            assert!(
                !view.attached.values().any(|id| *id == domain),
                "destroyed under a requester"
            );
            assert!(view.domains.remove(&domain).is_some());
        })
    }

    fn map(&self, domain: DomainId, region: Mapping) -> Result<(), Fault> {
        self.call(Call::Map(domain, region), |view| {
            view.domains.get_mut(&domain).unwrap().push(region.iova.0)
        })
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.call(Call::Attach(requester), |view| {
            assert!(view.domains.contains_key(&domain));
            assert!(
                view.attached.insert(requester, domain).is_none(),
                "attached from another domain"
            );
        })
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.call(Call::Quarantine(requester), |view| {
            view.attached.remove(&requester);
        })
    }
}

impl Quiesce for Recorder {
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault> {
        self.call(Call::Quiesce(device), |view| {
            view.live.remove(&device);
        })
    }
}

impl Reset for Recorder {
    fn reset(&self, action: &ResetAction) -> Result<(), Fault> {
        self.call(Call::Reset(action.devices()[0]), |view| {
            for device in action.devices() {
                view.live.remove(device);
            }
        })
    }

    fn check_alive(&self, device: DeviceId) -> Result<(), Fault> {
        self.call(Call::CheckAlive(device), |_| {})
    }
}

impl Interrupts for Recorder {
    fn interrupts_isolated(&self) -> bool {
        self.remaps_interrupts
    }

    fn enable_interrupts(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.call(Call::Enable(device), |view| {
            assert!(view.interrupts.insert(device, owner).is_none())
        })
    }

    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault> {
        self.call(Call::Release(device), |view| {
            view.interrupts.remove(&device);
        })
    }
}

impl DeviceOps for Recorder {
    fn open_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.call(Call::Open(device), |view| {
            assert!(view.opened.insert(device, owner).is_none(), "opened twice");
            // As the guest would: from now on it may master the bus.
            view.live.insert(device);
        })
    }

    fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.call(Call::Close(device), |view| {
            assert_eq!(view.opened.remove(&device), Some(owner))
        })
    }

    fn restore_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.call(Call::Restore(device), |view| {
            assert_eq!(view.opened.get(&device), Some(&owner), "put back for a stranger");
            view.live.insert(device);
        })
    }
}
