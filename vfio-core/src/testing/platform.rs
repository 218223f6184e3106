//! A platform that records every call, keeps a view of the hardware, and fails where it is told to.
//!
//! It also holds the callers to what hardware relies on: no domain is destroyed under a requester, nobody is
//! attached from another domain, nothing is opened or given interrupts twice, no lock is held meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::addr::Iova;
use crate::cohort::ResetAction;
use crate::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use crate::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use crate::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create(Owner),
    Destroy(DomainId),
    Map(UnitId, DomainId, Mapping),
    Unmap(UnitId, DomainId, IovaRange),
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
    pub(crate) domains: BTreeSet<DomainId>,
    /// What each unit maps for a domain, from the first attach behind it to the last quarantine.
    pub(crate) mapped: BTreeMap<(UnitId, DomainId), BTreeMap<Iova, Mapping>>,
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
    /// Calls that may fail with their effect do, and only say that they failed.
    fails_late: bool,
    limits: BTreeMap<UnitId, UnitLimits>,
    units: BTreeMap<Requester, UnitId>,
    reserved: BTreeMap<Requester, Vec<ReservedRegion>>,
    unknown: BTreeSet<Requester>,
}

#[derive(Default)]
pub(crate) struct Recorder {
    inner: Mutex<Inner>,
    moved: Condvar,
    remaps_interrupts: bool,
}

impl View {
    /// What a requester reaches.
    pub(crate) fn reached(&self, requester: Requester, unit: UnitId) -> Vec<Mapping> {
        let domain = self.attached.get(&requester);
        let mapped = domain.and_then(|domain| self.mapped.get(&(unit, *domain)));
        mapped.into_iter().flat_map(BTreeMap::values).copied().collect()
    }
}

impl Recorder {
    /// Requesters are behind unit 0 unless they are put behind another one.
    pub(crate) fn put_behind(&self, requester: Requester, unit: UnitId) {
        self.lock().units.insert(requester, unit);
    }

    /// Units map everything unless they are limited.
    pub(crate) fn limit(&self, unit: UnitId, limits: UnitLimits) {
        self.lock().limits.insert(unit, limits);
    }

    pub(crate) fn reserve(&self, requester: Requester, region: ReservedRegion) {
        self.lock().reserved.entry(requester).or_default().push(region);
    }

    /// From now on no unit is known for `requester`.
    pub(crate) fn lose(&self, requester: Requester) {
        self.lock().unknown.insert(requester);
    }

    pub(crate) fn fail_late(&self, late: bool) {
        self.lock().fails_late = late;
    }

    fn unit(&self, requester: Requester) -> UnitId {
        self.lock().units.get(&requester).copied().unwrap_or(UnitId(0))
    }

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
        if let (false, Call::Close(device)) = (ok, call) {
            inner.failed_closes.push(device);
        }
        let unknown = matches!(call, Call::Map(..) | Call::Unmap(..) | Call::Attach(_));
        if ok || inner.fails_late && unknown {
            effect(&mut inner.view);
        }
        if ok { Ok(()) } else { Err(Fault::TimedOut) }
    }
}

#[expect(unsafe_code, reason = "a recording has no memory to protect")]
// SAFETY: nothing here can reach memory.
unsafe impl DmaDomains for Recorder {
    fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        if self.lock().unknown.contains(&requester) {
            return Err(Fault::Unknown);
        }
        Ok(self.unit(requester))
    }

    fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        Ok(self
            .lock()
            .limits
            .get(&unit)
            .cloned()
            .unwrap_or_else(UnitLimits::any))
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        Ok(self.lock().reserved.get(&requester).cloned().unwrap_or_default())
    }

    fn create_domain(&self, owner: Owner) -> Result<DomainId, Fault> {
        let id = {
            let mut inner = self.lock();
            inner.next_domain += 1;
            DomainId(inner.next_domain)
        };
        self.call(Call::Create(owner), |view| assert!(view.domains.insert(id)))?;
        Ok(id)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.call(Call::Destroy(domain), |view| {
            assert!(
                !view.attached.values().any(|id| *id == domain),
                "destroyed under a requester"
            );
            assert!(view.domains.remove(&domain));
        })
    }

    fn map(&self, unit: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        self.call(Call::Map(unit, domain, mapping), |view| {
            let mapped = view.mapped.get_mut(&(unit, domain));
            let mapped = mapped.expect("mapped in a unit that has nobody attached");
            let range = mapping.range().unwrap();
            assert!(
                !mapped.values().any(|other| other.range().unwrap().meets(range)),
                "mapped twice"
            );
            mapped.insert(mapping.iova, mapping);
        })
    }

    fn unmap(&self, unit: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.call(Call::Unmap(unit, domain, range), |view| {
            let mapped = view.mapped.get_mut(&(unit, domain));
            let mapped = mapped.expect("unmapped in a unit that has nobody attached");
            let split =
                |own: &Mapping| range.meets(own.range().unwrap()) && !range.holds(own.range().unwrap());
            assert!(!mapped.values().any(split), "a mapping was split");
            mapped.retain(|iova, _| !range.contains(*iova));
        })
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        let unit = self.unit(requester);
        self.call(Call::Attach(requester), |view| {
            assert!(view.domains.contains(&domain));
            assert!(
                view.attached.insert(requester, domain).is_none(),
                "attached from another domain"
            );
            view.mapped.entry((unit, domain)).or_default();
        })
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        let unit = self.unit(requester);
        let units = self.lock().units.clone();
        let unit_of = |other: &Requester| units.get(other).copied().unwrap_or(UnitId(0));
        self.call(Call::Quarantine(requester), |view| {
            let Some(domain) = view.attached.remove(&requester) else {
                return;
            };
            if !view
                .attached
                .iter()
                .any(|(other, d)| *d == domain && unit_of(other) == unit)
            {
                view.mapped.remove(&(unit, domain));
            }
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
