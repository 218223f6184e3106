//! A unit that is made of its manual: it walks device table, page tables and interrupt tables by itself with plain numbers, carries out
//! commands, logs what it blocks, and keeps whatever it has seen in caches until it is told to forget it. It knows nothing of the driver.

use crate::addr::HostPhys;
use crate::iommu::amdvi::Hardware;
use crate::memory::tables::FrameSource;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a test has a unit do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Stops to read commands after this many.
    Deaf(u64),
    /// Calls the command with this code illegal, and stops.
    Illegal(u64),
    /// Cannot read commands.
    Unreadable,
    /// Names this tail of the event log.
    Tail(u64),
    /// Never starts its log again.
    DeadLog,
    /// Counts events before they are written, and never writes them.
    Unwritten,
    /// A register reads as this, whatever is written.
    Stuck(u16, u64),
    /// A status bit is always this.
    Status(u64, bool),
}

/// What the unit is, and everything that it remembers.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) memory: BTreeMap<u64, Vec<u64>>,
    next: u64,
    pub(crate) left: usize,
    pub(crate) registers: BTreeMap<u16, u64>,
    pub(crate) mischief: Vec<Mischief>,
    /// It caches that nothing is there.
    pub(crate) caches_not_present: bool,
    pub(crate) carried_out: Vec<[u64; 2]>,
    pub(crate) waited: u64,
    entries: BTreeMap<u16, [u64; 4]>,
    /// By domain number and page: what it found.
    translations: BTreeMap<(u16, u64), Option<(u64, u64)>>,
    /// By domain number and 2 MiB: where the lowest table is.
    links: BTreeMap<(u16, u64), u64>,
    interrupts: BTreeMap<(u16, u64), u32>,
}

/// A unit, shared between driver and test.
#[derive(Clone, Debug)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<State>>);

const CONTROL: u16 = 0x18;
const STATUS: u16 = 0x2020;

impl State {
    fn word(&self, at: u64) -> u64 {
        let frame = self.memory.get(&(at & !0xfff));
        let frame = frame.unwrap_or_else(|| panic!("the unit reads {at:#x}, which was freed or never given"));
        frame[(at % 4096 / 8) as usize]
    }

    fn put(&mut self, at: u64, value: u64) {
        let frame = self.memory.get_mut(&(at & !0xfff)).expect("memory that is there");
        frame[(at % 4096 / 8) as usize] = value;
    }

    fn register(&self, register: u16) -> u64 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    fn status(&self) -> u64 {
        let mut status = self.register(STATUS);
        for mischief in &self.mischief {
            if let Mischief::Status(bits, on) = mischief {
                status = if *on { status | bits } else { status & !bits };
            }
        }
        status
    }

    pub(crate) fn has(&self, what: Mischief) -> bool {
        self.mischief.contains(&what)
    }

    /// What the control register makes run.
    fn settle(&mut self) {
        let (control, mut status) = (self.register(CONTROL), self.register(STATUS));
        for (enable, runs) in [(12, 4), (2, 3)] {
            let stopped = runs == 3 && (status & 1 != 0 || self.has(Mischief::DeadLog) && status & 8 == 0);
            if control >> enable & 1 != 0 && control & 1 != 0 && !stopped {
                status |= 1 << runs;
            } else {
                status &= !(1 << runs);
            }
        }
        self.registers.insert(STATUS, status);
    }

    /// Carries out commands up to the tail.
    fn work(&mut self) {
        let base = self.register(8) & 0x000f_ffff_ffff_f000;
        let bytes = 16u64 << (self.register(8) >> 56 & 0xf);
        while self.status() & 1 << 4 != 0 && self.register(0x2000) != self.register(0x2008) {
            let at = base + self.register(0x2000);
            if self.has(Mischief::Unreadable) {
                self.log([6 << 60 | 2 << 57, at]);
                self.stop();
                return;
            }
            let words = [self.word(at), self.word(at + 8)];
            let code = words[0] >> 60;
            let done = self.carried_out.len() as u64;
            if self
                .mischief
                .iter()
                .any(|m| matches!(m, Mischief::Deaf(after) if done >= *after))
            {
                return;
            }
            if self.has(Mischief::Illegal(code)) || !self.carry_out(words) {
                self.log([5 << 60, at]);
                self.stop();
                return;
            }
            self.carried_out.push(words);
            let head = (self.register(0x2000) + 16) % bytes;
            self.registers.insert(0x2000, head);
        }
    }

    fn stop(&mut self) {
        let status = self.register(STATUS) & !(1 << 4);
        self.registers.insert(STATUS, status);
    }

    /// One command; whether it is legal.
    fn carry_out(&mut self, [first, second]: [u64; 2]) -> bool {
        let (low, id) = (first & 0x0fff_ffff_ffff_ffff, first as u16);
        match first >> 60 {
            1 => {
                if first & 1 != 0 {
                    self.put(low & 0x000f_ffff_ffff_fff8, second);
                }
                low >> 52 == 0
            }
            2 => {
                self.entries.remove(&id);
                low >> 16 == 0 && second == 0
            }
            3 => {
                let domain = (first >> 32) as u16;
                let (from, to) = Self::range(second);
                self.translations
                    .retain(|(d, page), _| *d != domain || page << 12 < from || page << 12 > to);
                if second & 2 != 0 {
                    self.links.retain(|(d, large), _| {
                        *d != domain || large << 21 | 0x1f_ffff < from || large << 21 > to
                    });
                }
                low & 0x0fff_0000_ffff_ffff == 0 && second & 0xffc == 0
            }
            5 => {
                self.interrupts.retain(|(i, _), _| *i != id);
                low >> 16 == 0 && second == 0
            }
            8 if self.register(0x30) & 1 << 6 != 0 => {
                self.entries.clear();
                self.translations.clear();
                self.links.clear();
                self.interrupts.clear();
                low == 0 && second == 0
            }
            _ => false,
        }
    }

    /// What an operand of INVALIDATE_IOMMU_PAGES covers.
    fn range(operand: u64) -> (u64, u64) {
        let address = operand & !0xfff;
        if operand & 1 == 0 {
            return (address, address | 0xfff);
        }
        if address == 0x7fff_ffff_ffff_f000 {
            return (0, u64::MAX);
        }
        let bits = 13 + (address >> 12).trailing_ones();
        let mask = (1u64 << bits) - 1;
        (address & !mask, address | mask)
    }

    pub(crate) fn log(&mut self, words: [u64; 2]) {
        if self.status() & 1 << 3 == 0 {
            return;
        }
        let base = self.register(0x10) & 0x000f_ffff_ffff_f000;
        let bytes = 16u64 << (self.register(0x10) >> 56 & 0xf);
        let tail = self.register(0x2018);
        let next = (tail + 16) % bytes;
        if next == self.register(0x2010) {
            let status = self.register(STATUS);
            self.registers.insert(STATUS, (status | 1) & !(1 << 3));
            return;
        }
        if !self.has(Mischief::Unwritten) {
            self.put(base + tail, words[0]);
            self.put(base + tail + 8, words[1]);
        }
        self.registers.insert(0x2018, next);
    }

    fn entry(&mut self, id: u16) -> Option<[u64; 4]> {
        if let Some(known) = self.entries.get(&id) {
            return Some(*known);
        }
        let base = self.register(0);
        let pages = (base & 0x1ff) + 1;
        if u64::from(id) >= pages * 128 {
            return None;
        }
        let at = (base & 0x000f_ffff_ffff_f000) + u64::from(id) * 32;
        let entry = [0, 8, 16, 24].map(|word| self.word(at + word));
        self.entries.insert(id, entry);
        Some(entry)
    }

    /// A transaction of `id`: the host address that it reaches, or `None` where it is blocked.
    pub(crate) fn access(&mut self, id: u16, address: u64, write: bool) -> Option<u64> {
        if self.register(CONTROL) & 1 == 0 {
            return Some(address);
        }
        let flags = u64::from(write) << 53;
        let Some(entry) = self.entry(id) else {
            self.log([2 << 60 | flags | u64::from(id), address]);
            return None;
        };
        assert_eq!(
            entry[0] & 0x801f_0000_0000_01fc,
            0,
            "reserved bits of the first word"
        );
        if entry[0] & 1 == 0 {
            return Some(address);
        }
        let domain = entry[1] as u16;
        let found = if entry[0] & 2 == 0 {
            None
        } else {
            match self.translations.get(&(domain, address >> 12)) {
                Some(known) => *known,
                None => {
                    let found = self.walk(domain, entry[0], address);
                    if found.is_some() || self.caches_not_present {
                        self.translations.insert((domain, address >> 12), found);
                    }
                    found
                }
            }
        };
        let right = if write { 62 } else { 61 };
        let allowed = found.is_some_and(|(_, rights)| rights >> right & 1 != 0) && entry[0] >> right & 1 != 0;
        if !allowed {
            let present = u64::from(found.is_some()) << 52;
            let permission = u64::from(found.is_some()) << 54;
            self.log([
                2 << 60 | flags | present | permission | u64::from(domain) << 32 | u64::from(id),
                address,
            ]);
            return None;
        }
        found.map(|(page, _)| page | address & 0xfff)
    }

    /// The walk of section 2.2.3: the page's host address and the rights of all entries on the way.
    fn walk(&mut self, domain: u16, root: u64, address: u64) -> Option<(u64, u64)> {
        let mut level = root >> 9 & 7;
        assert!((1..=6).contains(&level), "a mode that does not exist");
        if level < 6 && address >> (12 + 9 * level) != 0 {
            return None;
        }
        let (mut table, mut rights) = (root & 0x000f_ffff_ffff_f000, u64::MAX);
        if let Some(link) = self.links.get(&(domain, address >> 21)) {
            (table, level) = (*link, 1);
        }
        loop {
            let shift = 12 + 9 * (level - 1);
            let entry = self.word(table + (address >> shift & 0x1ff) * 8);
            if entry & 1 == 0 {
                return None;
            }
            rights &= entry;
            let (next, to) = (entry >> 9 & 7, entry & 0x000f_ffff_ffff_f000);
            if next == 0 {
                let mask = (1u64 << shift) - 1;
                assert_eq!(to & mask, 0, "reserved bits of a large page");
                assert_ne!(entry >> 60 & 1, 0, "accesses are coherent");
                return Some(((to | address & mask) & !0xfff, rights));
            }
            assert!(next < level, "levels go down");
            if next == 1 {
                self.links.insert((domain, address >> 21), to);
            }
            (table, level) = (to, next);
        }
    }

    /// A write of `id` to where interrupts are: local APIC and vector, or `None` where it is blocked.
    pub(crate) fn interrupt(&mut self, id: u16, data: u32) -> Option<(u8, u8)> {
        let blocked = |state: &mut Self| state.log([2 << 60 | 1 << 51 | u64::from(id), 0xfee0_0000]);
        let word = self.entry(id).map_or(1, |entry| entry[2]);
        if word & 1 == 0 {
            return Some((0, data as u8));
        }
        let index = u64::from(data & 0x7ff);
        if word >> 60 & 3 != 2 || index >= 1 << (word >> 1 & 0xf) {
            blocked(self);
            return None;
        }
        let entry = match self.interrupts.get(&(id, index)) {
            Some(known) => *known,
            None => {
                let at = (word & 0x000f_ffff_ffff_ffc0) + index * 4;
                let both = self.word(at & !7);
                let entry = (both >> (at % 8 * 8)) as u32;
                self.interrupts.insert((id, index), entry);
                entry
            }
        };
        assert_eq!(entry & 0xff00_00fe, 0, "fixed, edge, physical");
        if entry & 1 == 0 {
            blocked(self);
            return None;
        }
        Some(((entry >> 8) as u8, (entry >> 16) as u8))
    }
}

impl Fake {
    /// A unit that was never turned on, with memory for `left` pages.
    pub(crate) fn new(left: usize) -> Self {
        let state = State {
            next: 0x10_0000,
            left,
            // 4 levels, INVALIDATE_IOMMU_ALL.
            registers: BTreeMap::from([(0x30, 1 << 6)]),
            ..State::default()
        };
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn access(&self, id: u16, address: u64, write: bool) -> Option<u64> {
        self.0.borrow_mut().access(id, address, write)
    }

    pub(crate) fn interrupt(&self, id: u16, data: u32) -> Option<(u8, u8)> {
        self.0.borrow_mut().interrupt(id, data)
    }

    pub(crate) fn misbehave(&self, how: Mischief) {
        self.0.borrow_mut().mischief.push(how);
    }
}

impl Hardware for Fake {
    type Frames = Self;

    fn frames(&self) -> Self {
        self.clone()
    }

    fn read(&mut self, register: u16) -> u64 {
        let state = self.0.borrow();
        for mischief in &state.mischief {
            match *mischief {
                Mischief::Stuck(stuck, value) if stuck == register => return value,
                Mischief::Tail(tail) if register == 0x2018 => return tail,
                _ => {}
            }
        }
        if register == STATUS {
            state.status()
        } else {
            state.register(register)
        }
    }

    fn write(&mut self, register: u16, value: u64) {
        let mut state = self.0.borrow_mut();
        match register {
            STATUS => {
                let kept = state.register(STATUS) & !(value & 0x67);
                state.registers.insert(STATUS, kept);
            }
            0x08 | 0x10 => {
                state.registers.insert(register, value);
                let pointers = if register == 8 { 0x2000 } else { 0x2010 };
                state.registers.insert(pointers, 0);
                state.registers.insert(pointers + 8, 0);
            }
            _ => {
                state.registers.insert(register, value);
            }
        }
        state.settle();
        state.work();
    }

    fn allocate(&mut self, bytes: u64) -> Option<HostPhys> {
        let mut state = self.0.borrow_mut();
        let pages = (bytes / 4096) as usize;
        state.left = state.left.checked_sub(pages)?;
        let at = state.next;
        state.next += bytes;
        for page in 0..bytes / 4096 {
            state.memory.insert(at + page * 4096, vec![0; 512]);
        }
        Some(HostPhys(at))
    }

    fn free(&mut self, at: HostPhys, bytes: u64) {
        let mut state = self.0.borrow_mut();
        for page in 0..bytes / 4096 {
            assert!(
                state.memory.remove(&(at.0 + page * 4096)).is_some(),
                "freed twice"
            );
            state.left += 1;
        }
    }

    fn load(&self, at: HostPhys) -> u64 {
        self.0.borrow().word(at.0)
    }

    fn store(&mut self, at: HostPhys, value: u64) {
        self.0.borrow_mut().put(at.0, value);
    }

    fn store_half(&mut self, at: HostPhys, value: u32) {
        let mut state = self.0.borrow_mut();
        let (word, shift) = (at.0 & !7, at.0 % 8 * 8);
        let kept = state.word(word) & !(0xffff_ffff << shift);
        state.put(word, kept | u64::from(value) << shift);
    }

    fn wait(&self, nanoseconds: u64) {
        self.0.borrow_mut().waited += nanoseconds;
    }
}

impl FrameSource for Fake {
    fn allocate(&mut self) -> Option<HostPhys> {
        Hardware::allocate(self, 4096)
    }
    fn free(&mut self, frame: HostPhys) {
        Hardware::free(self, frame, 4096);
    }
    fn read(&self, frame: HostPhys, index: usize) -> u64 {
        self.load(HostPhys(frame.0 + index as u64 * 8))
    }
    fn write(&mut self, frame: HostPhys, index: usize, entry: u64) {
        self.store(HostPhys(frame.0 + index as u64 * 8), entry);
    }
}
