//! A transfer over the network in both directions, in sectors that prove what they hold: `cohort_abi::exchange`.

use crate::failure::Failure;
use crate::sys::{self, File, Output};
use cohort_abi::disk::{self, Kind, SECTOR_SIZE};
use cohort_abi::exchange::{CONFIRMED, HELLO, SECTORS};
use core::fmt::Write as _;

/// An IPv4 address in dots.
pub(crate) fn address(text: &str) -> Option<[u8; 4]> {
    let (mut out, mut parts) = ([0; 4], text.split('.'));
    for byte in &mut out {
        *byte = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Receives, verifies, sends, and has it confirmed.
pub(crate) fn exchange(address: [u8; 4], port: u16) -> Result<(), Failure> {
    let buffer = sys::buffer()?;
    let bytes = SECTORS as usize * SECTOR_SIZE;
    let buffer = buffer.get_mut(..bytes).ok_or(Failure::Size(bytes as u64))?;
    let file = File::connect(address, port)?;
    file.write(&HELLO)?;
    file.read(buffer)?;
    let mut seed = None;
    for (index, sector) in (0..).zip(buffer.as_chunks_mut::<SECTOR_SIZE>().0) {
        let seed = *seed.get_or_insert(disk::seed_of(sector));
        disk::check(sector, Kind::Supplied, index, seed)?;
        disk::fill(sector, Kind::Written, index, seed);
    }
    file.write(buffer)?;
    let mut answer = [0];
    file.read(&mut answer)?;
    if answer != [CONFIRMED] {
        return Err(Failure::Refused);
    }
    let _ = writeln!(
        Output,
        "{bytes} bytes received and as many sent, verified on both sides, seed {:#x}",
        seed.unwrap_or_default()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_four_bytes() {
        assert_eq!(address("10.0.2.100"), Some([10, 0, 2, 100]));
        for wrong in ["", "10.0.2", "10.0.2.256", "10.0.2.1.1", "a.b.c.d"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
