//! A VT-d unit made of the manual with plain numbers: it walks tables in memory itself, remembers all that it may remember, and
//! sees of memory only what the driver has made it see. It can be told to misbehave.

use super::super::{Memory, Registers};
use crate::addr::HostPhys;
use crate::memory::tables::FrameSource;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use vfio_core::clock::Clock;

/// Capability of the unit that most tests use: 48 bits, pages of 2 MiB and 1 GiB, invalidation by up to 2^18 pages, drains, four
/// fault records at 0x200, 16 bits of domain ids.
pub(crate) const CAPABILITY: u64 =
    6 | 0b100 << 8 | 47 << 16 | 0x20 << 24 | 0b11 << 34 | 1 << 39 | 3 << 40 | 18 << 48 | 0b11 << 54;
/// Caching mode.
pub(crate) const CACHING: u64 = 1 << 7;
/// Write buffers must be flushed.
pub(crate) const BUFFERS: u64 = 1 << 4;
/// Coherent, queued invalidation, interrupt remapping, 32-bit destinations.
pub(crate) const EXTENDED: u64 = 0b1_1011;

/// What the unit does with what it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    /// All of it.
    #[default]
    Obeys,
    /// Commands by these bits have no effect.
    Ignores(u32),
    /// It does not look at the queue.
    Sleeps,
    /// It sets these bits of fault status instead of completing a wait.
    Complains(u32),
    /// It reads as all ones.
    Gone,
}

type Word = (u64, usize);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) capability: u64,
    pub(crate) extended: u64,
    pub(crate) habit: Habit,
    /// Frames as the processor sees them.
    memory: BTreeMap<u64, Vec<u64>>,
    /// And as the unit does, frames that were given back too.
    pub(crate) visible: BTreeMap<u64, Vec<u64>>,
    /// What stands in the write buffers.
    buffered: Vec<(Word, u64)>,
    pub(crate) next: u64,
    /// Frames that can still be had.
    pub(crate) left: usize,
    pub(crate) status: u32,
    pub(crate) root_register: u64,
    root: u64,
    pub(crate) queue: u64,
    pub(crate) head: u64,
    pub(crate) tail: u64,
    table_register: u64,
    table: u64,
    pub(crate) fault_status: u32,
    pub(crate) control: u32,
    pub(crate) event: (u32, u32),
    pub(crate) protected: u32,
    records: [(u64, u64); 4],
    contexts: BTreeMap<u16, Option<(u64, u64)>>,
    translations: BTreeMap<(u16, u64), Option<(u64, u64)>>,
    entries: BTreeMap<u16, Option<(u64, u64)>>,
    pub(crate) waits: u64,
    /// Descriptors that were done, waits not counted.
    pub(crate) done: VecDeque<[u64; 2]>,
    time: u64,
}

/// The unit, and whoever holds it.
#[derive(Clone)]
pub(crate) struct Device(pub(crate) Rc<RefCell<State>>);

impl Device {
    pub(crate) fn new(capability: u64, extended: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            capability,
            extended,
            next: 0x10_0000,
            left: 10_000,
            control: 1 << 31,
            ..State::default()
        })))
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.borrow_mut());
    }

    /// Frames that are in use.
    pub(crate) fn frames(&self) -> usize {
        self.0.borrow().memory.len()
    }

    /// What becomes of an access: where it goes in the host; a fault is recorded.
    pub(crate) fn access(&self, source: u16, address: u64, write: bool) -> Option<u64> {
        self.0.borrow_mut().access(source, address, write)
    }

    /// What becomes of a message: local APIC and vector.
    pub(crate) fn message(&self, source: u16, address: u32, data: u32) -> Option<(u32, u8)> {
        self.0.borrow_mut().message(source, address, data)
    }
}

impl State {
    fn word(&self, frame: u64, index: usize) -> u64 {
        self.visible
            .get(&frame)
            .map_or(0x6b6b_6b6b_6b6b_6b6b, |words| words[index])
    }

    fn make_visible(&mut self, frame: u64, index: usize) {
        let value = self.memory[&frame][index];
        if self.capability & BUFFERS != 0 {
            self.buffered.push(((frame, index), value));
        } else {
            self.show((frame, index), value);
        }
    }

    fn show(&mut self, (frame, index): Word, value: u64) {
        self.visible.entry(frame).or_insert_with(|| vec![0x6b; 512])[index] = value;
    }

    fn flush(&mut self) {
        for (word, value) in std::mem::take(&mut self.buffered) {
            self.show(word, value);
        }
    }

    const fn caches_absent(&self) -> bool {
        self.capability & CACHING != 0
    }

    fn context(&mut self, source: u16) -> Option<(u64, u64)> {
        if let Some(known) = self.contexts.get(&source) {
            return *known;
        }
        let root = self.word(self.root & !0xfff, usize::from(source >> 8) * 2);
        let found = (root & 1 != 0)
            .then(|| {
                let at = usize::from(source & 0xff) * 2;
                let table = root & !0xfff;
                (self.word(table, at), self.word(table, at + 1))
            })
            .filter(|(low, _)| low & 1 != 0);
        if found.is_some() || self.caches_absent() {
            self.contexts.insert(source, found);
        }
        found
    }

    fn access(&mut self, source: u16, address: u64, write: bool) -> Option<u64> {
        if self.status >> 31 == 0 {
            return Some(address);
        }
        if self.protected & 1 != 0 && address < 0x10_0000 {
            return None;
        }
        let Some((low, high)) = self.context(source) else {
            self.record(source, address, 2, !write);
            return None;
        };
        if low >> 2 & 3 == 2 {
            return Some(address);
        }
        assert_eq!(low >> 2 & 3, 0, "translation type");
        let (domain, levels) = ((high >> 8) as u16, (high & 7) as u32 + 2);
        assert!(
            self.capability >> (8 + levels - 2) & 1 != 0,
            "a width that it has"
        );
        assert!(domain != 0 && u32::from(domain) < 1 << (4 + 2 * (self.capability & 7)));
        let page = address >> 12;
        let found = match self.translations.get(&(domain, page)) {
            Some(known) => *known,
            None => {
                let found = self.walk(low & !0xfff, levels, address);
                if found.is_some() || self.caches_absent() {
                    self.translations.insert((domain, page), found);
                }
                found
            }
        };
        let allowed = found.filter(|(_, rights)| rights >> u32::from(write) & 1 != 0);
        if allowed.is_none() {
            self.record(source, address, if write { 5 } else { 6 }, !write);
        }
        allowed.map(|(host, _)| host | address & 0xfff)
    }

    /// Host page and rights.
    fn walk(&self, mut table: u64, levels: u32, address: u64) -> Option<(u64, u64)> {
        if address >> (12 + 9 * levels) != 0 {
            return None;
        }
        let mut rights = 3;
        for level in (1..=levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let entry = self.word(table, (address >> shift & 0x1ff) as usize);
            rights &= entry & 3;
            if entry & 3 == 0 {
                return None;
            }
            let to = entry & 0x000f_ffff_ffff_f000;
            if level == 1 || entry >> 7 & 1 != 0 {
                let sizes = self.capability >> 34 & 3;
                assert!(
                    level == 1 || sizes >> (level - 2) & 1 != 0,
                    "a page size that it has"
                );
                return Some((to | address & ((1 << shift) - 1) & !0xfff, rights));
            }
            table = to;
        }
        None
    }

    fn message(&mut self, source: u16, address: u32, data: u32) -> Option<(u32, u8)> {
        assert_eq!(address >> 20, 0xfee);
        if self.status >> 25 & 1 == 0 {
            return Some((address >> 12 & 0xff, data as u8));
        }
        if address & 1 << 4 == 0 {
            if self.status >> 23 & 1 != 0 {
                return Some((address >> 12 & 0xff, data as u8));
            }
            self.record(source, 0, 0x25, false);
            return None;
        }
        let index = (address >> 5 & 0x7fff | (address >> 2 & 1) << 15) as u16;
        if u64::from(index) >= 2 << (self.table & 0xf) {
            self.record(source, u64::from(index) << 48, 0x21, false);
            return None;
        }
        let entry = match self.entries.get(&index) {
            Some(known) => *known,
            None => {
                let word = usize::from(index) * 2;
                let frame = (self.table & !0xfff) + (word / 512 * 4096) as u64;
                let entry = (self.word(frame, word % 512), self.word(frame, word % 512 + 1));
                let found = (entry.0 & 1 != 0).then_some(entry);
                if found.is_some() || self.caches_absent() {
                    self.entries.insert(index, found);
                }
                found
            }
        };
        let Some((low, high)) = entry else {
            self.record(source, u64::from(index) << 48, 0x22, false);
            return None;
        };
        assert_eq!(
            low & 0xffff_0000_ff00_fffe & !(u64::from(u32::MAX) << 32),
            0,
            "fixed, edge, physical"
        );
        assert_eq!(high >> 16, 0b01 << 2, "the whole source is verified");
        if high as u16 != source {
            self.record(source, u64::from(index) << 48, 0x26, false);
            return None;
        }
        let destination = (low >> 32) as u32;
        let apic = if self.table >> 11 & 1 != 0 {
            destination
        } else {
            assert_eq!(destination & !0xff00, 0);
            destination >> 8
        };
        Some((apic, (low >> 16) as u8))
    }

    pub(crate) fn record(&mut self, source: u16, information: u64, reason: u64, read: bool) {
        let high = u64::from(source) | reason << 32 | u64::from(read) << 62 | 1 << 63;
        match self.records.iter_mut().find(|record| record.1 >> 63 == 0) {
            Some(record) => *record = (information & !0xfff, high),
            None => self.fault_status |= 1,
        }
        self.fault_status |= 2;
    }

    fn work(&mut self) {
        if self.status >> 26 & 1 == 0 || self.habit == Habit::Sleeps {
            return;
        }
        self.flush();
        while self.head != self.tail {
            let slot = (self.head >> 4) as usize;
            // Reads of the queue are always coherent.
            let page = &self.memory[&(self.queue & !0xfff)];
            let descriptor = [page[slot * 2], page[slot * 2 + 1]];
            self.head = (self.head + 16) % 4096;
            self.perform(descriptor);
        }
    }

    fn perform(&mut self, [low, high]: [u64; 2]) {
        let domain = (low >> 16) as u16;
        match (low & 0xf, low >> 4 & 3) {
            (1, 1) => self.contexts.clear(),
            (1, 3) => {
                let source = (low >> 32) as u16;
                // Only what is remembered under this domain; what is absent is under 0.
                let under = |entry: &Option<(u64, u64)>| entry.map_or(0, |(_, high)| (high >> 8) as u16);
                if self
                    .contexts
                    .get(&source)
                    .is_some_and(|entry| under(entry) == domain)
                {
                    self.contexts.remove(&source);
                }
            }
            (2, 1) => self.translations.clear(),
            (2, 2) => {
                assert_eq!(low >> 6 & 3, self.capability >> 54 & 3, "drains where it can");
                self.translations.retain(|(own, _), _| *own != domain);
            }
            (2, 3) => {
                assert_eq!(low >> 6 & 3, self.capability >> 54 & 3, "drains where it can");
                let mask = high & 0x3f;
                assert!(self.capability >> 39 & 1 != 0 && mask <= self.capability >> 48 & 0x3f);
                let first = high >> 12;
                assert_eq!(first & ((1 << mask) - 1), 0, "aligned");
                let pages = first..first + (1 << mask);
                self.translations
                    .retain(|(own, page), _| *own != domain || !pages.contains(page));
            }
            (4, 0) => self.entries.clear(),
            (4, 1) => {
                self.entries.remove(&((low >> 32) as u16));
            }
            (5, 2) => {
                if let Habit::Complains(bits) = self.habit {
                    self.fault_status |= bits;
                    return;
                }
                let frame = self.memory.get_mut(&(high & !0xfff)).unwrap();
                frame[0] = low >> 32;
                self.waits += 1;
                return;
            }
            other => panic!("a descriptor of {other:?}"),
        }
        self.done.push_back([low, high]);
    }

    fn command(&mut self, value: u32) {
        let ignored = match self.habit {
            Habit::Ignores(bits) => bits,
            _ => 0,
        };
        let one_shot = value & !self.status & !ignored;
        if value & !ignored & 1 << 30 != 0 {
            self.root = self.root_register;
            self.status |= 1 << 30;
        }
        if value & !ignored & 1 << 24 != 0 {
            self.table = self.table_register;
            self.status |= 1 << 24;
        }
        if one_shot & 1 << 27 != 0 {
            self.flush();
        } else if value & ignored & 1 << 27 != 0 {
            self.status |= 1 << 27;
        }
        let lasting = 1 << 31 | 1 << 26 | 1 << 25 | 1 << 23;
        let changes = (value ^ self.status) & lasting & !ignored;
        assert!(
            changes.count_ones() <= 1 || changes == (1 << 25 | 1 << 23),
            "one at a time"
        );
        if changes & 1 << 26 != 0 {
            (self.head, self.tail) = (0, 0);
        }
        self.status ^= changes;
    }
}

impl Registers for Device {
    fn read32(&mut self, offset: u32) -> u32 {
        let state = self.0.borrow();
        if state.habit == Habit::Gone {
            return u32::MAX;
        }
        match offset {
            0x00 => 0x10,
            0x1c => state.status,
            0x34 => state.fault_status,
            0x38 => state.control,
            0x64 => state.protected,
            _ => panic!("read of 32 bits at {offset:#x}"),
        }
    }

    fn read64(&mut self, offset: u32) -> u64 {
        let state = self.0.borrow();
        if state.habit == Habit::Gone {
            return u64::MAX;
        }
        match offset {
            0x08 => state.capability,
            0x10 => state.extended,
            0x20 => state.root_register,
            0x80 => state.head,
            0x88 => state.tail,
            0x200..0x240 => {
                let record = state.records[(offset as usize - 0x200) / 16];
                if offset.is_multiple_of(16) {
                    record.0
                } else {
                    record.1
                }
            }
            _ => panic!("read of 64 bits at {offset:#x}"),
        }
    }

    fn write32(&mut self, offset: u32, value: u32) {
        let mut state = self.0.borrow_mut();
        match offset {
            0x18 => state.command(value),
            0x34 => state.fault_status &= !(value & 0x71),
            0x38 => state.control = value,
            0x3c => state.event.1 = value,
            0x40 => state.event.0 = value,
            0x44 => assert_eq!(value, 0),
            0x64 => {
                let stuck = state.habit == Habit::Ignores(1);
                state.protected = value & 1 << 31 | u32::from(stuck || value >> 31 != 0);
            }
            0x200..0x240 if offset % 16 == 12 => {
                assert_eq!(value, 1 << 31);
                state.records[(offset as usize - 0x200) / 16].1 &= !(1 << 63);
                if state.records.iter().all(|record| record.1 >> 63 == 0) {
                    state.fault_status &= !2;
                }
            }
            _ => panic!("write of 32 bits at {offset:#x}"),
        }
    }

    fn write64(&mut self, offset: u32, value: u64) {
        let mut state = self.0.borrow_mut();
        match offset {
            0x20 => state.root_register = value,
            0x88 => {
                state.tail = value;
                state.work();
            }
            0x90 => state.queue = value,
            0xb8 => state.table_register = value,
            _ => panic!("write of 64 bits at {offset:#x}"),
        }
    }
}

impl FrameSource for Device {
    fn allocate(&mut self) -> Option<HostPhys> {
        self.contiguous(1)
    }

    fn free(&mut self, frame: HostPhys) {
        let mut state = self.0.borrow_mut();
        assert!(state.memory.remove(&frame.0).is_some());
        // Whoever has the frame next writes something that must not be taken for an entry.
        state.visible.insert(frame.0, vec![0x6b6b_6b6b_6b6b_6b6b; 512]);
    }

    fn read(&self, frame: HostPhys, index: usize) -> u64 {
        self.0.borrow().memory[&frame.0][index]
    }

    fn write(&mut self, frame: HostPhys, index: usize, entry: u64) {
        let mut state = self.0.borrow_mut();
        state.memory.get_mut(&frame.0).unwrap()[index] = entry;
        if state.extended & 1 != 0 {
            state.make_visible(frame.0, index);
        }
    }
}

impl Memory for Device {
    fn contiguous(&mut self, frames: usize) -> Option<HostPhys> {
        let mut state = self.0.borrow_mut();
        state.left = state.left.checked_sub(frames)?;
        let at = state.next.next_multiple_of(frames as u64 * 4096);
        state.next = at + frames as u64 * 4096;
        for frame in (at..state.next).step_by(4096) {
            state.memory.insert(frame, vec![0; 512]);
            if state.extended & 1 != 0 {
                state.visible.insert(frame, vec![0; 512]);
            }
        }
        Some(HostPhys(at))
    }

    fn write_back(&self, frame: HostPhys, index: usize, words: usize) {
        let mut state = self.0.borrow_mut();
        for index in index..index + words {
            state.make_visible(frame.0, index);
        }
    }
}

/// Time passes by looking at it.
impl Clock for Device {
    fn now(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.time += 10_000_000;
        state.time
    }

    fn wait(&self, nanoseconds: u64) {
        self.0.borrow_mut().time += nanoseconds;
    }
}
