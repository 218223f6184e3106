//! A bzImage that says when it is entered: the kernel as it is, with a few instructions before its first.
//!
//! The boot protocol has a place for that: `code32_start` is where the real-mode part jumps to, and a loader may put the
//! address of its own code there (Linux, `Documentation/arch/x86/boot.rst`, "Details of header fields").

use anyhow::{Context as _, bail};
use spec::linux_boot as boot;

/// Where the protected-mode part is loaded, and its 32-bit entry point.
const LOADED_AT: u32 = 0x10_0000;
/// Bytes of a real-mode sector, and of the unit of the protected-mode part's length.
const SECTOR: usize = 512;
const UNIT: usize = 16;
/// Real-mode sectors where the image says 0.
const OLD_SETUP_SECTS: usize = 4;

/// 32-bit code that sends the time-stamp counter over the second serial port, low byte first, and goes on at
/// [`LOADED_AT`]. Only EAX, ECX and EDX are not as before, on which the entry point does not rely.
fn code() -> Vec<u8> {
    // rdtsc; mov ecx, eax; mov ebx, edx; mov edx, 0x2f8
    let mut code = vec![0x0f, 0x31, 0x89, 0xc1, 0x89, 0xd3, 0xba, 0xf8, 0x02, 0, 0];
    for _ in 0..4 {
        // mov al, cl; out dx, al; shr ecx, 8
        code.extend([0x88, 0xc8, 0xee, 0xc1, 0xe9, 0x08]);
    }
    for _ in 0..4 {
        // mov al, bl; out dx, al; shr ebx, 8: which leaves EBX 0, as it was
        code.extend([0x88, 0xd8, 0xee, 0xc1, 0xeb, 0x08]);
    }
    // mov eax, LOADED_AT; jmp eax
    code.push(0xb8);
    code.extend(LOADED_AT.to_le_bytes());
    code.extend([0xff, 0xe0]);
    code.resize(code.len().next_multiple_of(UNIT), 0x90);
    code
}

/// `image` with that before its entry.
pub(super) fn hooked(image: &[u8]) -> anyhow::Result<Vec<u8>> {
    let number = |at: usize| -> anyhow::Result<u32> {
        let bytes = image.get(at..).and_then(|rest| rest.first_chunk());
        Ok(u32::from_le_bytes(*bytes.context("the bzImage is cut off")?))
    };
    let sectors = match number(boot::SETUP_SECTS)? as usize & 0xff {
        0 => OLD_SETUP_SECTS,
        sectors => sectors,
    };
    let (start, units) = ((sectors + 1) * SECTOR, number(boot::SYSSIZE)?);
    if number(boot::CODE32_START)? != LOADED_AT {
        bail!("the bzImage is entered in a way of its own");
    }
    let end = start + units as usize * UNIT;
    if image.len() + UNIT <= end {
        bail!("the bzImage is cut off");
    }
    let (mut out, code) = (image.to_vec(), code());
    // A signature may be behind what is loaded.
    out.resize(image.len().max(end).next_multiple_of(UNIT), 0);
    let at = (out.len() - start) as u32;
    out.extend(&code);
    let loaded = (out.len() - start) / UNIT;
    let mut put = |at: usize, value: u32| {
        if let Some(bytes) = out.get_mut(at..at + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    };
    put(boot::SYSSIZE, loaded as u32);
    put(boot::CODE32_START, LOADED_AT + at);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: usize) -> Vec<u8> {
        let mut image = vec![0; 5 * SECTOR + payload];
        image[boot::SYSSIZE..boot::SYSSIZE + 4].copy_from_slice(&10u32.to_le_bytes());
        image[boot::CODE32_START..boot::CODE32_START + 4].copy_from_slice(&LOADED_AT.to_le_bytes());
        image
    }

    #[test]
    fn the_code_is_behind_the_kernel_and_entered_first() {
        for (payload, behind) in [(160, 160), (150, 160), (161, 176), (1000, 1008)] {
            let out = hooked(&image(payload)).expect("it is one");
            let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().expect("four"));
            let at = 5 * SECTOR + behind as usize;
            assert_eq!(word(boot::CODE32_START), LOADED_AT + behind);
            assert_eq!(out.len(), 5 * SECTOR + word(boot::SYSSIZE) as usize * 16);
            assert!(out[at..].starts_with(&[0x0f, 0x31]));
        }
    }

    #[test]
    fn what_is_not_as_expected_is_refused() {
        assert!(hooked(&image(144)).is_err() && hooked(&[0; 100]).is_err());
        let mut other = image(160);
        other[boot::CODE32_START] = 1;
        assert!(hooked(&other).is_err());
    }
}
