//! ACPI: the way from the RSDP to the two tables that a guest needs, MADT and MCFG.
//!
//! Every length is bounded and every checksum verified, as the tables come from outside (ACPI 6.5, section 5.2;
//! MCFG: PCI Firmware 3.3, section 4.1.2). The caller supplies physical memory as [`Memory`].

use core::ops::RangeInclusive;

/// Longest table that is read, in bytes.
const MAX_TABLE: usize = 64 * 1024;
const HEADER: usize = 36;
const MADT_ENTRIES: usize = 44;
const MCFG_ENTRIES: usize = 44;
const MCFG_ENTRY: usize = 16;

/// Physical memory that holds tables.
pub trait Memory {
    /// `len` bytes at physical `address`, or `None` where nothing can be read.
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]>;
}

/// What the tables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Physical address of the local APIC.
    pub local_apic: u64,
    /// Enabled CPUs.
    pub cpus: usize,
    /// Physical address of the configuration space of bus 0, segment 0.
    pub ecam: u64,
    /// Buses that it covers.
    pub buses: RangeInclusive<u8>,
}

/// Why the tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcpiError {
    /// No RSDP at the address that the boot information gives.
    #[error("no ACPI RSDP at {address:#x}")]
    Rsdp {
        /// Where it was looked for.
        address: u64,
    },
    /// A table lies where nothing can be read, or its length makes no sense.
    #[error("the ACPI table at {address:#x} cannot be read")]
    Unreadable {
        /// Where.
        address: u64,
    },
    /// The bytes of a table do not sum to zero.
    #[error("the checksum of the ACPI table at {address:#x} does not hold")]
    Checksum {
        /// Where.
        address: u64,
    },
    /// A table that a guest needs is absent.
    #[error("there is no ACPI {0}")]
    Missing(&'static str),
}

impl Platform {
    /// Reads the tables from the RSDP at `rsdp`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(memory: &impl Memory, rsdp: u64) -> Result<Self, AcpiError> {
        let (root, wide) = root_table(memory, rsdp)?;
        let entries = table(memory, root)?.get(HEADER..).unwrap_or_default();
        let (mut apic, mut ecam) = (None, None);
        for entry in entries.chunks_exact(if wide { 8 } else { 4 }) {
            let address = little_endian(entry);
            let Some(signature) = memory.bytes(address, 4) else {
                continue;
            };
            match signature {
                b"APIC" => apic = Some(madt(table(memory, address)?)),
                b"MCFG" => ecam = mcfg(table(memory, address)?),
                _ => {}
            }
        }
        let (local_apic, cpus) = apic.ok_or(AcpiError::Missing("MADT"))?;
        let (ecam, buses) = ecam.ok_or(AcpiError::Missing("MCFG with segment 0"))?;
        Ok(Self {
            local_apic,
            cpus,
            ecam,
            buses,
        })
    }
}

/// Address of XSDT or RSDT, and `true` for the XSDT.
fn root_table(memory: &impl Memory, address: u64) -> Result<(u64, bool), AcpiError> {
    let missing = AcpiError::Rsdp { address };
    let first = memory.bytes(address, 20).ok_or(missing)?;
    if !first.starts_with(b"RSD PTR ") {
        return Err(missing);
    }
    if sum(first) != 0 {
        return Err(AcpiError::Checksum { address });
    }
    if first.get(15).is_some_and(|revision| *revision >= 2) {
        let extended = memory.bytes(address, 36).ok_or(missing)?;
        if sum(extended) != 0 {
            return Err(AcpiError::Checksum { address });
        }
        let xsdt = field(extended, 24, 8);
        if xsdt != 0 {
            return Ok((xsdt, true));
        }
    }
    Ok((field(first, 16, 4), false))
}

fn table(memory: &impl Memory, address: u64) -> Result<&[u8], AcpiError> {
    let unreadable = AcpiError::Unreadable { address };
    let header = memory.bytes(address, HEADER).ok_or(unreadable)?;
    let len = usize::try_from(field(header, 4, 4)).map_err(|_| unreadable)?;
    if !(HEADER..=MAX_TABLE).contains(&len) {
        return Err(unreadable);
    }
    let table = memory.bytes(address, len).ok_or(unreadable)?;
    if sum(table) != 0 {
        return Err(AcpiError::Checksum { address });
    }
    Ok(table)
}

/// Address of the local APIC and number of enabled CPUs.
fn madt(table: &[u8]) -> (u64, usize) {
    let (mut address, mut cpus) = (field(table, HEADER, 4), 0);
    let mut rest = table.get(MADT_ENTRIES..).unwrap_or_default();
    while let [kind, len, ..] = *rest {
        let Some((entry, after)) = rest.split_at_checked(usize::from(len.max(2))) else {
            break;
        };
        match kind {
            0 => cpus += (field(entry, 4, 4) & 1) as usize,
            5 => address = field(entry, 4, 8),
            _ => {}
        }
        rest = after;
    }
    (address, cpus)
}

/// Base address and buses of segment 0.
fn mcfg(table: &[u8]) -> Option<(u64, RangeInclusive<u8>)> {
    let entries = table.get(MCFG_ENTRIES..)?.chunks_exact(MCFG_ENTRY);
    entries.into_iter().find_map(|entry| match *entry {
        [_, _, _, _, _, _, _, _, 0, 0, first, last, ..] => Some((field(entry, 0, 8), first..=last)),
        _ => None,
    })
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The little-endian number of `len` bytes at `at`; 0 where the bytes end before.
fn field(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.get(at..at + len).map_or(0, little_endian)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory from address 0x1000.
    struct Image(Vec<u8>);

    impl Memory for Image {
        fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
            let start = usize::try_from(address.checked_sub(0x1000)?).ok()?;
            self.0.get(start..start.checked_add(len)?)
        }
    }

    fn finish(table: &mut [u8], at: usize) {
        table[at] = 0;
        table[at] = sum(table).wrapping_neg();
    }

    fn sdt(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = vec![0; HEADER];
        table[..4].copy_from_slice(signature);
        table.extend_from_slice(body);
        let len = u32::try_from(table.len()).unwrap();
        table[4..8].copy_from_slice(&len.to_le_bytes());
        finish(&mut table, 9);
        table
    }

    fn image() -> Image {
        let mut madt = vec![0, 0, 0xe0, 0xfe, 0, 0, 0, 0];
        madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        madt.extend([0, 8, 1, 1, 0, 0, 0, 0]);
        let mut mcfg = vec![0; 8];
        mcfg.extend([0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
        let mut xsdt = 0x1200_u64.to_le_bytes().to_vec();
        xsdt.extend(0x1300_u64.to_le_bytes());
        let mut rsdp = [0; 36];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[15] = 2;
        rsdp[24..32].copy_from_slice(&0x1100_u64.to_le_bytes());
        finish(&mut rsdp[..20], 8);
        finish(&mut rsdp, 32);
        let mut bytes = vec![0; 0x400];
        for (at, part) in [
            (0, rsdp.to_vec()),
            (0x100, sdt(b"XSDT", &xsdt)),
            (0x200, sdt(b"APIC", &madt)),
            (0x300, sdt(b"MCFG", &mcfg)),
        ] {
            bytes[at..at + part.len()].copy_from_slice(&part);
        }
        Image(bytes)
    }

    #[test]
    fn tables_are_found() {
        let platform = Platform::read(&image(), 0x1000).unwrap();
        assert_eq!(
            platform,
            Platform {
                local_apic: 0xfee0_0000,
                cpus: 1,
                ecam: 0xb000_0000,
                buses: 0..=3
            }
        );
    }

    #[test]
    fn no_damage_goes_unnoticed_or_panics() {
        let whole = Platform::read(&image(), 0x1000).unwrap();
        for at in 0..0x400 {
            let mut damaged = image();
            damaged.0[at] ^= 0x40;
            if let Ok(platform) = Platform::read(&damaged, 0x1000) {
                assert_eq!(platform, whole, "byte {at:#x}");
            }
        }
        for len in 0..0x33c {
            assert!(
                Platform::read(&Image(image().0[..len].to_vec()), 0x1000).is_err(),
                "{len}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut no_mcfg = image();
        no_mcfg.0[0x300] = b'X';
        assert_eq!(
            Platform::read(&no_mcfg, 0x1000),
            Err(AcpiError::Missing("MCFG with segment 0"))
        );
        assert_eq!(
            Platform::read(&image(), 0x1004),
            Err(AcpiError::Rsdp { address: 0x1004 })
        );
    }
}
