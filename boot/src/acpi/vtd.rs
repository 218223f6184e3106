//! A DMAR in lines.

use cohort_acpi::{DeviceScope, Dmar, ScopeKind};

use super::{Findings, Machine};

fn list(scopes: &[DeviceScope]) -> String {
    let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    if scopes.is_empty() {
        "no device".into()
    } else {
        scopes.join(", ")
    }
}

/// What `dmar` says, and what follows from it.
pub(super) fn findings(dmar: &Dmar, machine: &Machine) -> Findings {
    let mut findings = Findings::default();
    let mut say = |line: String| findings.lines.push(line);
    say(format!(
        "DMA reaches {} bits of address; interrupt remapping: {}{}{}",
        dmar.address_bits,
        if dmar.interrupt_remapping { "yes" } else { "no" },
        if dmar.x2apic_opt_out {
            "; firmware wants no x2APIC"
        } else {
            ""
        },
        if dmar.dma_opt_in {
            "; firmware wants DMA restricted from the start"
        } else {
            ""
        },
    ));
    for (index, unit) in dmar.units.iter().enumerate() {
        let last = unit.base.saturating_add(unit.bytes - 1);
        let rest = if unit.include_all {
            ", and what no other unit names"
        } else {
            ""
        };
        say(format!(
            "unit {index}: registers {:#x} to {last:#x}, segment {:04x}: {}{rest}",
            unit.base,
            unit.segment,
            list(&unit.scopes)
        ));
    }
    for reserved in &dmar.reserved {
        say(format!(
            "reserved memory {:#x} to {:#x}: {}",
            reserved.first,
            reserved.last,
            list(&reserved.scopes)
        ));
    }
    for ats in &dmar.ats {
        let which = if ats.all {
            "all root ports".into()
        } else {
            list(&ats.scopes)
        };
        say(format!(
            "translation services, segment {:04x}: {which}",
            ats.segment
        ));
    }
    for proximity in &dmar.proximities {
        say(format!(
            "unit at {:#x}: near to memory of domain {}",
            proximity.base, proximity.domain
        ));
    }
    for device in &dmar.acpi_devices {
        say(format!("ACPI device {}: {}", device.number, device.name));
    }
    for cache in &dmar.integrated {
        let need = if cache.required { ", and needs it" } else { "" };
        say(format!("keeps translations{need}: {}", list(&cache.scopes)));
    }
    for kind in &dmar.skipped {
        say(format!("structure of unknown type {kind}: skipped"));
    }
    findings.not_assignable = not_assignable(dmar, machine);
    findings
}

fn not_assignable(dmar: &Dmar, machine: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    for reserved in &dmar.reserved {
        for scope in &reserved.scopes {
            lines.push(format!(
                "{scope}: firmware has it use memory {:#x} to {:#x}, which a guest's domain does not map",
                reserved.first, reserved.last
            ));
        }
    }
    for segment in machine.segments() {
        let mut units = dmar.units.iter().filter(|unit| unit.segment == segment);
        if units.clone().next().is_none() {
            lines.push(format!("everything in segment {segment:04x}: no unit is there"));
        } else if !units.any(|unit| unit.include_all) {
            lines.push(format!(
                "whatever in segment {segment:04x} no unit names: no unit has the rest"
            ));
        }
    }
    let named = |id: u8| {
        let mut scopes = dmar.units.iter().flat_map(|unit| &unit.scopes);
        scopes.any(|scope| scope.kind == ScopeKind::IoApic(id))
    };
    for ioapic in machine
        .ioapics
        .iter()
        .filter(|ioapic| dmar.interrupt_remapping && !named(ioapic.id))
    {
        lines.push(format!(
            "interrupts of I/O APIC {}: no unit names it, so none remaps them",
            ioapic.id
        ));
    }
    lines
}
