//! What a vCPU does: it runs, halts, or waits to be started; and what others send it.

use super::{Platform, Verdict};
use crate::guest::GuestFault;
use crate::guest::apic::Effect;
use crate::virt::{RealEntry, VcpuState, rflags};

/// Whether a vCPU can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It can.
    Run,
    /// It waits for an interrupt or a message, at most until [`Platform::next_deadline`].
    Wait,
    /// It waits, and so do all others, and nothing can wake any of them.
    Never(GuestFault),
}

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Running,
    /// HLT.
    Halted,
    /// HLT with interrupts off: only NMI and INIT wake it.
    Stopped,
    /// INIT came, or it was never started.
    WaitsForStartUp,
}

impl Activity {
    pub(super) const fn asleep(self) -> bool {
        matches!(self, Self::Stopped | Self::WaitsForStartUp)
    }
}

impl Platform {
    /// Takes what others left for the vCPU, lets the timer fire, and says whether the guest can be entered. If so, the interrupt that
    /// is next is injected, or the moment asked for when it can be.
    pub fn before_entry(&mut self, vcpu: &mut impl VcpuState, now: u64) -> Entry {
        if self.board.bus.has_left(self.apic.id()) {
            self.collect(vcpu);
        }
        self.apic.advance(now);
        match self.activity {
            Activity::Running => {}
            Activity::Halted if self.nmi || self.interrupt_wakes(vcpu) => self.activity = Activity::Running,
            Activity::Halted => return Entry::Wait,
            Activity::Stopped if self.nmi => self.activity = Activity::Running,
            Activity::Stopped | Activity::WaitsForStartUp => {
                return if self.board.bus.sleep(self.apic.id()) {
                    Entry::Never(self.board.all_asleep())
                } else {
                    Entry::Wait
                };
            }
        }
        self.started.get_or_insert(now);
        if self.nmi && vcpu.inject_nmi() {
            self.nmi = false;
        }
        if let Some(vector) = self.apic.next_interrupt() {
            if vcpu.inject_interrupt(vector) {
                self.apic.acknowledge(vector);
            } else {
                vcpu.request_interrupt_window();
            }
        }
        Entry::Run
    }

    /// Whether an interrupt ends a HLT: one waits, or was injected and has not been delivered.
    fn interrupt_wakes(&self, vcpu: &impl VcpuState) -> bool {
        self.apic.next_interrupt().is_some() || !vcpu.interruptible()
    }

    /// Takes what others left.
    fn collect(&mut self, vcpu: &mut impl VcpuState) {
        if self.activity.asleep() {
            self.board.bus.wake(self.apic.id());
        }
        let events = self.board.bus.collect(&mut self.apic);
        if events.init {
            self.apic.init();
            self.nmi = false;
            self.apply(Effect::Readdressed);
            // The bootstrap processor has no start-up to wait for. Nothing is at its reset vector, as its guest will find.
            self.activity = if self.apic.id() == 0 {
                Activity::Running
            } else {
                Activity::WaitsForStartUp
            };
            vcpu.restart(RealEntry::RESET);
        }
        if let Some(page) = events.start_up
            && self.activity == Activity::WaitsForStartUp
        {
            vcpu.restart(RealEntry::start_up(page));
            self.activity = Activity::Running;
        }
        if events.nmi && self.activity != Activity::WaitsForStartUp {
            self.nmi = true;
        }
    }

    pub(super) fn halt(&mut self, vcpu: &mut impl VcpuState) -> Verdict {
        let rip = vcpu.rip();
        match self.skip(vcpu) {
            Err(fault) => Verdict::Stop(fault.into()),
            Ok(()) => {
                self.activity = if vcpu.rflags() & rflags::IF == 0 {
                    self.board.note_stop(rip);
                    Activity::Stopped
                } else {
                    Activity::Halted
                };
                Verdict::Halt
            }
        }
    }
}
