//! The timer of a local APIC: counts time-stamp counter ticks through a divider, once or periodically.

use spec::lapic::TimerLvt;

#[derive(Clone, Debug)]
pub(super) struct Timer {
    lvt: TimerLvt,
    divide: u32,
    initial: u32,
    /// When the present round began; `None` while the count stands at zero.
    started: Option<u64>,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            lvt: TimerLvt::new().with_masked(true),
            divide: 0,
            initial: 0,
            started: None,
        }
    }
}

impl Timer {
    pub(super) const fn lvt(&self) -> TimerLvt {
        self.lvt
    }

    pub(super) fn set_lvt(&mut self, value: u32, masked: bool) {
        let wanted = TimerLvt::from_bits(value);
        self.lvt = TimerLvt::new()
            .with_vector(wanted.vector())
            .with_masked(wanted.masked() || masked)
            .with_periodic(wanted.periodic());
    }

    pub(super) fn mask(&mut self) {
        self.lvt.set_masked(true);
    }

    pub(super) const fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) const fn divide(&self) -> u32 {
        self.divide
    }

    /// Ticks per count: the register's bits 3, 1 and 0 are log2 minus one, all ones is 1 (16.4.1).
    const fn divisor(&self) -> u64 {
        let code = (self.divide & 3) | (self.divide >> 1 & 4);
        1 << ((code + 1) & 7)
    }

    const fn period(&self) -> u64 {
        self.initial as u64 * self.divisor()
    }

    pub(super) fn start(&mut self, initial: u32, now: u64) {
        self.initial = initial;
        self.started = (initial != 0).then_some(now);
    }

    /// Changes the divider; the count goes on from where it is.
    pub(super) fn set_divide(&mut self, value: u32, now: u64) {
        let counted = u64::from(self.initial - self.current(now).min(self.initial));
        self.divide = value & 0xb;
        let elapsed = counted * self.divisor();
        self.started = self.started.map(|_| now.saturating_sub(elapsed));
    }

    pub(super) fn current(&self, now: u64) -> u32 {
        let Some(started) = self.started else { return 0 };
        let elapsed = now.saturating_sub(started);
        let elapsed = if self.lvt.periodic() && self.initial != 0 {
            elapsed % self.period()
        } else {
            elapsed
        };
        u64::from(self.initial).saturating_sub(elapsed / self.divisor()) as u32
    }

    /// When it next fires, if it will and anyone hears it.
    pub(super) fn deadline(&self) -> Option<u64> {
        let started = self.started.filter(|_| !self.lvt.masked())?;
        started.checked_add(self.period())
    }

    /// If the count reached zero by `now`: begins the next round, and returns the vector to raise if not masked.
    /// Rounds that were missed are one interrupt, as in hardware, where the request bit is set already.
    pub(super) fn expire(&mut self, now: u64) -> Option<u8> {
        let started = self.started?;
        let (elapsed, period) = (now.saturating_sub(started), self.period());
        if elapsed < period {
            return None;
        }
        self.started = self.lvt.periodic().then(|| started + elapsed / period * period);
        (!self.lvt.masked()).then_some(self.lvt.vector())
    }
}
