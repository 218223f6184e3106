//! How `edu` attacks, and how one sees what came of it.
#![expect(unsafe_code, reason = "compares read-only memory before and after")]

use alloc::vec;

use super::target::{Kind, Target};
use crate::edu::{Direction, Edu, EduError, LEN};
use crate::pattern::{self, Found};
use crate::rt::Failure;
use crate::rt::dma::{DmaBuffer, PAGE};

/// Where transfers go in a page of this guest: not at its start, so that both sides of the piece can be checked.
const OFFSET: usize = PAGE / 2;

/// How attacks on one target went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) blocked: usize,
    pub(super) succeeded: usize,
}

/// A device and the memory through which this guest sees into its buffer.
pub(super) struct Attacker {
    edu: Edu,
    page: DmaBuffer,
    /// Tag of the next pattern, so that no two transfers carry the same.
    tag: u64,
}

impl Attacker {
    pub(super) fn new(edu: Edu) -> Self {
        Self {
            edu,
            page: DmaBuffer::new(PAGE),
            tag: 0x726f_6775_6500,
        }
    }

    /// The device.
    pub(super) const fn edu(&self) -> &Edu {
        &self.edu
    }

    /// Has the device write `bytes` to `address`.
    pub(super) fn write_words(&self, bytes: &[u8; LEN], address: u64) -> Result<(), EduError> {
        self.page.write(OFFSET, bytes);
        self.edu.transfer(Direction::Read, self.own_address())?;
        self.edu.transfer(Direction::Write, address)
    }

    /// Where transfers of this guest's own go.
    fn own_address(&self) -> u64 {
        self.page.address() + OFFSET as u64
    }

    /// An address of memory of this guest that no transfer may touch.
    pub(super) fn own_untouched(&self) -> u64 {
        self.page.address()
    }

    /// The device reads and writes this guest's memory, and exactly the bytes that it should.
    pub(super) fn own_memory(&mut self) -> Result<(), Failure> {
        let sent = self.load()?;
        if self.unload()? != sent {
            return Err(format_args!("{}: DMA to own memory came back changed", self.edu.address()).into());
        }
        let mut page = [0; PAGE];
        self.page.read(0, &mut page);
        let outside = page
            .iter()
            .enumerate()
            .filter(|(at, _)| !(OFFSET..OFFSET + LEN).contains(at));
        if let Some((at, byte)) = outside.into_iter().find(|(_, byte)| **byte != 0) {
            return Err(
                format_args!("DMA to own memory wrote {byte:#x} beside its place, at byte {at:#x}").into(),
            );
        }
        println!("{}: DMA from and to own memory works", self.edu.address());
        Ok(())
    }

    /// Attacks `target` by writing and by reading.
    pub(super) fn attack(&mut self, target: &Target) -> Result<Outcome, Failure> {
        let held = match target.kind {
            Kind::Closed => self.attack_closed(target)?.to_vec(),
            Kind::ReadOnly => {
                self.read_allowed(target)?;
                vec![self.write_read_only(target)?]
            }
        };
        let blocked = held.iter().filter(|held| **held).count();
        Ok(Outcome {
            blocked,
            succeeded: held.len() - blocked,
        })
    }

    /// Writes, then reads what stands there; says for each whether it was blocked, as far as this guest can see.
    /// Writing comes first, because memory that holds zeros reads like a blocked read, but not after a write.
    fn attack_closed(&mut self, target: &Target) -> Result<[bool; 2], Failure> {
        let sent = self.load()?;
        self.edu.transfer(Direction::Write, target.address)?;
        let before = self.load()?;
        self.edu.transfer(Direction::Read, target.address)?;
        let after = self.unload()?;
        let written = after == sent;
        let found = pattern::classify(&after, &before);
        let wrote = match (written, found) {
            (true, _) => "SUCCEEDED: the data stands there",
            (false, Found::Foreign) => "blocked (other data stands there)",
            (false, _) => "blocked (nothing to be seen of it)",
        };
        let read = match found {
            Found::Unchanged => "blocked (the device kept what it had)",
            Found::Zeros => "blocked (the device got zeros)",
            Found::Ones => "blocked (the device got ones)",
            Found::Foreign => "SUCCEEDED: the device got data",
        };
        self.say("write", target, wrote);
        self.say("read", target, read);
        Ok([!written, found != Found::Foreign])
    }

    /// A read-only mapping can be read, and gives what the CPU sees.
    fn read_allowed(&mut self, target: &Target) -> Result<(), Failure> {
        self.load()?;
        self.edu.transfer(Direction::Read, target.address)?;
        if self.unload()? != cpu_view(target.address) {
            return Err(format_args!(
                "{}: reading {} at {:#x} did not give what the CPU sees there",
                self.edu.address(),
                target.what,
                target.address
            )
            .into());
        }
        self.say("read", target, "allowed, and the same as the CPU sees");
        Ok(())
    }

    /// `true` where the memory did not change.
    fn write_read_only(&mut self, target: &Target) -> Result<bool, Failure> {
        let before = cpu_view(target.address);
        self.load()?;
        self.edu.transfer(Direction::Write, target.address)?;
        let held = cpu_view(target.address) == before;
        let said = if held {
            "blocked (the CPU sees no change)"
        } else {
            "SUCCEEDED: the CPU sees the change"
        };
        self.say("write", target, said);
        Ok(held)
    }

    /// Puts a fresh pattern into the device's buffer and gives it.
    fn load(&mut self) -> Result<[u8; LEN], EduError> {
        self.tag += 1;
        let mut bytes = [0; LEN];
        pattern::fill(&mut bytes, self.tag);
        self.page.write(OFFSET, &bytes);
        self.edu.transfer(Direction::Read, self.own_address())?;
        Ok(bytes)
    }

    /// What is in the device's buffer.
    fn unload(&mut self) -> Result<[u8; LEN], EduError> {
        self.page.write(OFFSET, &[0; LEN]);
        self.edu.transfer(Direction::Write, self.own_address())?;
        let mut bytes = [0; LEN];
        self.page.read(OFFSET, &mut bytes);
        Ok(bytes)
    }

    fn say(&self, access: &str, target: &Target, said: &str) {
        println!(
            "{}: {access} of {} at {:#x}: {said}",
            self.edu.address(),
            target.what,
            target.address
        );
    }
}

/// What the CPU sees at `address`, which is read-only memory below 4 GiB that is no part of this program.
fn cpu_view(address: u64) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let from = core::ptr::with_exposed_provenance::<u8>(address as usize + at);
        // SAFETY: mapped, and no memory of Rust's; a device may change it, so each byte is read once.
        *byte = unsafe { from.read_volatile() };
    }
    bytes
}
