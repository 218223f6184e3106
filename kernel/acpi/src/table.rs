//! From the root pointer to the bytes of one table, checked: signature, length, checksum.

use super::{Error, Fault, Signature};
use alloc::vec::Vec;
use spec::acpi::{rsdp, sdt};
use zerocopy::FromBytes;

/// The longest table that Cohort reads. Larger ones (DSDT may be) are none that it needs.
pub const MAX_TABLE_BYTES: usize = 1 << 20;

/// The most tables that Cohort looks at.
pub const MAX_TABLES: usize = 256;

/// Bytes of a table's header.
pub(super) const HEADER: usize = size_of::<sdt::SdtHeader>();

/// Reads host physical memory that holds firmware's tables.
///
/// On the machine it stands on the identity mapping, bounded by the memory map; in tests on byte buffers.
pub trait PhysMem {
    /// The `length` bytes at host physical address `address`, or `None` if any of them is not memory.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;
}

/// Where the tables are, by the root table.
#[derive(Debug)]
pub(super) struct Tables {
    addresses: Vec<(Signature, u64)>,
}

/// One table: all its bytes, length and checksum good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) signature: Signature,
    pub(super) bytes: &'a [u8],
}

impl<'a> Table<'a> {
    pub(super) const fn error(&self, offset: usize, fault: Fault) -> Error {
        Error {
            table: self.signature,
            offset,
            fault,
        }
    }

    /// The structure at `offset`.
    pub(super) fn read<T: FromBytes>(&self, offset: usize) -> Result<T, Error> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let truncated = Fault::Truncated {
            needed: size_of::<T>(),
            left: rest.len(),
        };
        T::read_from_prefix(rest)
            .map(|(value, _)| value)
            .map_err(|_| self.error(offset, truncated))
    }
}

impl<'a> Table<'a> {
    /// The same table, as if it ended at `end`: what is read from it is not read past the structure that it is in.
    pub(super) fn until(&self, end: usize) -> Self {
        Self {
            signature: self.signature,
            bytes: self.bytes.get(..end).unwrap_or(self.bytes),
        }
    }

    /// Where the structure at `offset` ends that says that it has `length` bytes.
    pub(super) fn end_of(&self, offset: usize, length: usize, least: usize) -> Result<usize, Error> {
        let left = self.bytes.len().saturating_sub(offset);
        if length < least || length > left {
            let fault = Fault::Length {
                found: length,
                least,
                most: left,
            };
            return Err(self.error(offset, fault));
        }
        Ok(offset + length)
    }

    /// The table that `bytes` begin with, as a file has it.
    pub(super) fn in_file(bytes: &'a [u8]) -> Result<Self, Error> {
        let signature = match bytes {
            &[a, b, c, d, ..] => Signature([a, b, c, d]),
            _ => Signature(*b"????"),
        };
        let whole = Self { signature, bytes };
        let header: sdt::SdtHeader = whole.read(0)?;
        let length = header.length.get() as usize;
        let most = bytes.len().min(MAX_TABLE_BYTES);
        if !(HEADER..=most).contains(&length) {
            let fault = Fault::Length {
                found: length,
                least: HEADER,
                most,
            };
            return Err(error(signature, 4, fault));
        }
        let table = whole.until(length);
        check_sum(signature, table.bytes)?;
        Ok(table)
    }
}

fn error(table: Signature, offset: usize, fault: Fault) -> Error {
    Error { table, offset, fault }
}

fn mapped(memory: &impl PhysMem, table: Signature, address: u64, length: usize) -> Result<&[u8], Error> {
    memory
        .bytes(address, length)
        .and_then(|bytes| bytes.get(..length))
        .ok_or(error(table, 0, Fault::Unmapped { address, length }))
}

fn check_sum(table: Signature, bytes: &[u8]) -> Result<(), Error> {
    match bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) {
        0 => Ok(()),
        sum => Err(error(table, 0, Fault::Checksum { sum })),
    }
}

impl Tables {
    /// Follows the root pointer at `address` to the XSDT, or in revision 0 to the RSDT.
    pub(super) fn find(memory: &impl PhysMem, address: u64) -> Result<Self, Error> {
        let v1 = mapped(memory, Signature::RSDP, address, rsdp::V1_LENGTH)?;
        let (pointer, _) = rsdp::RsdpV1::read_from_prefix(v1).map_err(|_| {
            error(
                Signature::RSDP,
                0,
                Fault::Unmapped {
                    address,
                    length: rsdp::V1_LENGTH,
                },
            )
        })?;
        if pointer.signature != rsdp::SIGNATURE {
            let [a, b, c, d, ..] = pointer.signature;
            return Err(error(
                Signature::RSDP,
                0,
                Fault::Signature {
                    found: Signature([a, b, c, d]),
                },
            ));
        }
        check_sum(Signature::RSDP, v1)?;
        if pointer.revision < 2 {
            return Self::root::<4>(memory, Signature(sdt::RSDT), pointer.rsdt_address.get().into());
        }
        let v2 = mapped(memory, Signature::RSDP, address, rsdp::V2_LENGTH)?;
        let (pointer, _) = rsdp::Rsdp::read_from_prefix(v2).map_err(|_| {
            error(
                Signature::RSDP,
                0,
                Fault::Unmapped {
                    address,
                    length: rsdp::V2_LENGTH,
                },
            )
        })?;
        let length = pointer.length.get() as usize;
        if !(rsdp::V2_LENGTH..=4096).contains(&length) {
            let fault = Fault::Length {
                found: length,
                least: rsdp::V2_LENGTH,
                most: 4096,
            };
            return Err(error(Signature::RSDP, 20, fault));
        }
        check_sum(Signature::RSDP, mapped(memory, Signature::RSDP, address, length)?)?;
        match pointer.xsdt_address.get() {
            0 => Self::root::<4>(memory, Signature(sdt::RSDT), pointer.v1.rsdt_address.get().into()),
            xsdt => Self::root::<8>(memory, Signature(sdt::XSDT), xsdt),
        }
    }

    /// The root table, whose entries are `WIDTH` bytes each.
    fn root<const WIDTH: usize>(
        memory: &impl PhysMem,
        signature: Signature,
        address: u64,
    ) -> Result<Self, Error> {
        let root = table(memory, signature, address)?;
        let entries = root.bytes.get(HEADER..).unwrap_or_default();
        if entries.len() / WIDTH > MAX_TABLES {
            return Err(root.error(HEADER, Fault::TooMany { most: MAX_TABLES }));
        }
        let mut addresses = Vec::new();
        for entry in entries.chunks_exact(WIDTH) {
            let mut wide = [0; 8];
            for (to, from) in wide.iter_mut().zip(entry) {
                *to = *from;
            }
            let address = u64::from_le_bytes(wide);
            // An entry that leads nowhere can only be told from a missing table by whoever needs the table.
            if let Some(&[a, b, c, d]) = memory.bytes(address, 4).and_then(|bytes| bytes.get(..4)) {
                addresses.push((Signature([a, b, c, d]), address));
            }
        }
        Ok(Self { addresses })
    }

    /// The table with `signature`, checked; `None` if there is none.
    pub(super) fn get<'a>(
        &self,
        memory: &'a impl PhysMem,
        signature: Signature,
    ) -> Result<Option<Table<'a>>, Error> {
        let mut found = self.addresses.iter().filter(|(name, _)| *name == signature);
        let first = found.next();
        if found.next().is_some() {
            return Err(error(signature, 0, Fault::Duplicate));
        }
        first
            .map(|&(_, address)| table(memory, signature, address))
            .transpose()
    }
}

/// The table at `address`, which must have `signature`.
fn table<'a>(memory: &'a impl PhysMem, signature: Signature, address: u64) -> Result<Table<'a>, Error> {
    let header = mapped(memory, signature, address, HEADER)?;
    let (header, _) = sdt::SdtHeader::read_from_prefix(header).map_err(|_| {
        error(
            signature,
            0,
            Fault::Unmapped {
                address,
                length: HEADER,
            },
        )
    })?;
    if header.signature != signature.0 {
        return Err(error(
            signature,
            0,
            Fault::Signature {
                found: Signature(header.signature),
            },
        ));
    }
    let length = header.length.get() as usize;
    if !(HEADER..=MAX_TABLE_BYTES).contains(&length) {
        let fault = Fault::Length {
            found: length,
            least: HEADER,
            most: MAX_TABLE_BYTES,
        };
        return Err(error(signature, 4, fault));
    }
    let bytes = mapped(memory, signature, address, length)?;
    check_sum(signature, bytes)?;
    Ok(Table { signature, bytes })
}
