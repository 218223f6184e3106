//! The smallest image that boots: lets the tool be tested without a hypervisor.

/// Where the code of an image lies, and where it is entered.
pub const ENTRY: u64 = 0x10_0000;

/// An ELF64 with one `PT_LOAD` of `code` at [`ENTRY`], and a PVH note that names it if `note` is set.
///
/// PVH enters it in 32-bit protected mode without paging (Xen, `docs/misc/pvh.pandoc`).
#[must_use]
pub fn elf(code: &[u8], note: bool) -> Vec<u8> {
    const NOTE_AT: u64 = 64 + 2 * 56;
    const CODE_AT: u64 = NOTE_AT + 24;
    let mut out = Vec::new();
    out.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2u16, 62] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(&1u32.to_le_bytes());
    for long in [ENTRY, 64, 0] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    let (note_type, note_len) = if note { (4u32, 24u64) } else { (0, 0) };
    let segments = [
        (1u32, 5u32, CODE_AT, ENTRY, code.len() as u64, 8u64),
        (note_type, 4, NOTE_AT, 0, note_len, 4),
    ];
    for (kind, flags, offset, address, len, align) in segments {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for long in [offset, address, address, len, len, align] {
            out.extend_from_slice(&long.to_le_bytes());
        }
    }
    for word in [4u32, 8, 18] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"Xen\0");
    out.extend_from_slice(&ENTRY.to_le_bytes());
    out.extend_from_slice(code);
    out
}

/// 32-bit code that writes `console` and `report` to the machine's serial ports, then `exit` to its exit port
/// (nothing, if it is `None`), and halts.
#[must_use]
pub fn speaking(console: &str, report: &[u8], exit: Option<u8>) -> Vec<u8> {
    /// Transmit registers of COM1 and COM2.
    const PORTS: [u16; 2] = [0x3f8, 0x2f8];
    let mut code = Vec::new();
    for (port, bytes) in PORTS.into_iter().zip([console.as_bytes(), report]) {
        // mov dx, port
        code.extend([0x66, 0xba]);
        code.extend(port.to_le_bytes());
        for byte in bytes {
            // mov al, byte; out dx, al
            code.extend([0xb0, *byte, 0xee]);
        }
    }
    if let Some(exit) = exit {
        // mov al, exit; out 0xf4, al
        code.extend([0xb0, exit, 0xe6, 0xf4]);
    }
    // cli; hlt; jmp to the hlt
    code.extend([0xfa, 0xf4, 0xeb, 0xfd]);
    code
}
