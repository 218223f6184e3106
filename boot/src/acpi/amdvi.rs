//! An IVRS in lines.

use cohort_acpi::{IvhdEntry, IvhdTarget, Ivrs, IvrsUnit, Uid};

use super::{Findings, Machine};

/// A requester id as bus, device and function.
fn id(requester: u16) -> String {
    format!(
        "{:02x}:{:02x}.{}",
        requester >> 8,
        requester >> 3 & 0x1f,
        requester & 7
    )
}

fn ids(first: u16, last: u16) -> String {
    if first == last {
        id(first)
    } else {
        format!("{} to {}", id(first), id(last))
    }
}

fn entry(entry: &IvhdEntry) -> String {
    let what = match &entry.target {
        IvhdTarget::All => "all devices".into(),
        IvhdTarget::Range {
            first,
            last,
            alias,
            extended,
        } => {
            let alias = alias.map_or(String::new(), |alias| format!(" seen as {}", id(alias)));
            let extended =
                extended.map_or(String::new(), |data| format!(" with extended settings {data:#x}"));
            format!("{}{alias}{extended}", ids(*first, *last))
        }
        IvhdTarget::IoApic {
            id: number,
            requester,
        } => format!("I/O APIC {number} as {}", id(*requester)),
        IvhdTarget::Hpet { number, requester } => format!("HPET {number} as {}", id(*requester)),
        IvhdTarget::OtherSpecial {
            variety,
            handle,
            requester,
        } => {
            format!(
                "special device {handle} of unknown variety {variety} as {}",
                id(*requester)
            )
        }
        IvhdTarget::Acpi {
            hid,
            cid,
            uid,
            requester,
        } => {
            let cid = if cid.is_empty() {
                String::new()
            } else {
                format!(" ({cid})")
            };
            let uid = match uid {
                Uid::None => String::new(),
                Uid::Number(number) => format!(" {number}"),
                Uid::Text(text) => format!(" {text}"),
            };
            format!("ACPI device {hid}{cid}{uid} as {}", id(*requester))
        }
    };
    match entry.settings {
        0 => what,
        settings => format!("{what} (lets pass {settings:#04x})"),
    }
}

/// What `ivrs` says, and what follows from it.
pub(super) fn findings(ivrs: &Ivrs, machine: &Machine) -> Findings {
    let mut findings = Findings::default();
    let mut say = |line: String| findings.lines.push(line);
    for (name, bits) in [("physical", ivrs.physical_bits), ("virtual", ivrs.virtual_bits)] {
        if bits != 0 {
            say(format!("{bits} bits of {name} address"));
        }
    }
    for (index, unit) in ivrs.units.iter().enumerate() {
        let extended = match unit.extended {
            Some((efr, efr2)) => format!(", extended features {efr:#x} and {efr2:#x} (the registers count)"),
            None => String::new(),
        };
        say(format!(
            "unit {index}: {}, registers at {:#x}, by block {:#x}{extended}",
            unit.function, unit.base, unit.kind
        ));
        for part in unit.entries.iter().map(entry) {
            say(format!("  {part}"));
        }
    }
    for memory in &ivrs.memory {
        let how = match (memory.exclusion, memory.unity) {
            (true, _) => "passes untranslated",
            (false, true) => "to be mapped one to one",
            (false, false) => "reserved",
        };
        say(format!(
            "memory {:#x} to {:#x} of {}: {how}",
            memory.first,
            memory.last,
            ids(memory.requesters.0, memory.requesters.1)
        ));
    }
    for kind in &ivrs.skipped {
        say(format!("block of unknown type {kind:#x}: skipped"));
    }
    findings.not_assignable = not_assignable(ivrs, machine);
    findings
}

fn not_assignable(ivrs: &Ivrs, machine: &Machine) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for unit in &ivrs.units {
        lines.push(format!("{}: it is an IOMMU", unit.function));
    }
    for memory in &ivrs.memory {
        lines.push(format!(
            "{:04x}, {}: firmware has it use memory {:#x} to {:#x}, which a guest's domain does not map",
            memory.segment,
            ids(memory.requesters.0, memory.requesters.1),
            memory.first,
            memory.last
        ));
    }
    for segment in machine.segments() {
        let units = ivrs
            .units
            .iter()
            .filter(|unit| unit.function.segment() == segment);
        for (first, last) in gaps(units) {
            lines.push(format!("{segment:04x}, {}: no unit has it", ids(first, last)));
        }
    }
    for ioapic in &machine.ioapics {
        let named =
            |entry: &IvhdEntry| matches!(entry.target, IvhdTarget::IoApic { id, .. } if id == ioapic.id);
        if !ivrs.units.iter().flat_map(|unit| &unit.entries).any(named) {
            lines.push(format!(
                "interrupts of I/O APIC {}: no unit names it, so none remaps them",
                ioapic.id
            ));
        }
    }
    lines
}

/// Requester ids that none of `units` has, as ranges.
fn gaps<'a>(units: impl Iterator<Item = &'a IvrsUnit>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = units
        .flat_map(|unit| &unit.entries)
        .filter_map(|entry| match entry.target {
            IvhdTarget::All => Some((0, u16::MAX)),
            IvhdTarget::Range { first, last, .. } => Some((first, last)),
            _ => None,
        })
        .collect();
    ranges.sort_unstable();
    let (mut gaps, mut next) = (Vec::new(), 0u32);
    for (first, last) in ranges {
        if let (Ok(from), Some(to)) = (u16::try_from(next), first.checked_sub(1))
            && from <= to
        {
            gaps.push((from, to));
        }
        next = next.max(u32::from(last) + 1);
    }
    if let Ok(from) = u16::try_from(next) {
        gaps.push((from, u16::MAX));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use vfio_core::pci::Bdf;

    #[test]
    fn gaps_are_what_no_entry_has() {
        let range = |first, last| IvhdEntry {
            target: IvhdTarget::Range {
                first,
                last,
                alias: None,
                extended: None,
            },
            settings: 0,
        };
        let unit = |entries| IvrsUnit {
            kind: 0x10,
            function: Bdf::new(0, 0, 2, 0),
            capability: 0,
            base: 0,
            flags: 0,
            info: 0,
            features: 0,
            extended: None,
            entries,
        };
        let of = |entries| gaps([unit(entries)].iter());
        assert_eq!(of(vec![]), [(0, u16::MAX)]);
        assert_eq!(of(vec![range(0, u16::MAX)]), []);
        assert_eq!(
            of(vec![range(8, 9), range(0, 3), range(2, 5)]),
            [(6, 7), (10, u16::MAX)]
        );
        assert_eq!(of(vec![range(1, u16::MAX), range(2, 2)]), [(0, 0)]);
        let all = IvhdEntry {
            target: IvhdTarget::All,
            settings: 0,
        };
        assert_eq!(of(vec![range(4, 4), all]), []);
    }
}
