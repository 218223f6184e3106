//! Images built by hand, whole and broken, and the boot information as a guest would read it.

use super::super::layout::{ECAM, ROM};
use super::super::memory::fake::memory;
use super::*;
use proptest::prelude::*;
use zerocopy::FromBytes;

const ENTRY: u32 = 0x10_0010;

/// An image with one segment of 0x20 bytes at 0x10_0000 (0x1000 in memory) and a PVH note.
fn image() -> Vec<u8> {
    let mut file = vec![0u8; 64];
    file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    file[16..20].copy_from_slice(&[2, 0, 62, 0]);
    file[20] = 1;
    file[32] = 64; // program headers
    file[52] = 64;
    file[54..58].copy_from_slice(&[56, 0, 2, 0]);
    file[58] = 64;
    let mut header = |kind: u32, offset: u64, address: u64, in_file: u64, in_memory: u64| {
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&5u32.to_le_bytes());
        for field in [offset, address, address, in_file, in_memory, 4] {
            file.extend_from_slice(&field.to_le_bytes());
        }
    };
    header(PT_LOAD, 176, 0x10_0000, 0x20, 0x1000);
    header(PT_NOTE, 176 + 0x20, 0, 24, 24);
    assert_eq!(file.len(), 176);
    file.extend_from_slice(&[0xf4; 0x20]);
    for word in [4u32, 8, 18] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(b"Xen\0");
    file.extend_from_slice(&u64::from(ENTRY).to_le_bytes());
    file
}

const PARAMETERS: BootParameters<'static> = BootParameters {
    command_line: "mode=all",
    cpus: 2,
    initrd: &[],
    tsc_khz: 1,
};

fn try_load(image: &[u8]) -> Result<EntryState, LoadError> {
    load_elf(image, PARAMETERS, &memory(4 << 20))
}

fn read<T: FromBytes>(memory: &GuestMemory, at: u64) -> T {
    let mut bytes = vec![0; size_of::<T>()];
    memory.read(GuestPhys(at), &mut bytes).unwrap();
    T::read_from_bytes(&bytes).ok().unwrap()
}

#[test]
fn a_whole_image_is_loaded_and_its_rest_is_zero() {
    let memory = memory(4 << 20);
    let entry = load_elf(&image(), PARAMETERS, &memory).unwrap();
    assert_eq!((entry.eip, u64::from(entry.ebx)), (ENTRY, ROM));
    let words: [[u8; 0x20]; 2] = read(&memory, 0x10_0000);
    assert_eq!(words, [[0xf4; 0x20], [0; 0x20]]);
}

#[test]
fn a_segment_over_another_has_its_own_bytes_and_zeros() {
    let mut file = image();
    // The second header: 24 bytes and 8 zeros, over the end of the first one's bytes.
    file[120] = PT_LOAD as u8;
    file[120 + 24..120 + 32].copy_from_slice(&0x10_0004u64.to_le_bytes());
    file[120 + 40..120 + 48].copy_from_slice(&32u64.to_le_bytes());
    let memory = memory(4 << 20);
    assert_eq!(load_elf(&file, PARAMETERS, &memory), Err(LoadError::NoNote));
    let found: [u8; 0x28] = read(&memory, 0x10_0000);
    assert_eq!(found[..4], [0xf4; 4]);
    assert_eq!(found[4..28], file[176 + 0x20..]);
    assert_eq!(found[28..], [0; 12]);
}

#[test]
fn broken_images_are_told_apart() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = image();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        try_load(&file)
    };
    assert_eq!(try_load(&[]), Err(LoadError::NotElf));
    assert_eq!(with(0, b"MZ"), Err(LoadError::NotElf));
    assert_eq!(with(18, &[3]), Err(LoadError::WrongMachine));
    assert_eq!(with(64, &[9]), Err(LoadError::Empty));
    assert_eq!(with(120, &[9]), Err(LoadError::NoNote));
    assert_eq!(with(176 + 0x20 + 8, &[17]), Err(LoadError::NoNote));
    assert_eq!(
        with(176 + 0x20 + 16, &[0xff; 8]),
        Err(LoadError::Entry { entry: u64::MAX })
    );
    let paddr = 64 + 24;
    for bad in [0xa_0000u64 - 0x800, ROM, 0x3f_f001, 0x40_0000, u64::MAX - 0x10] {
        assert!(
            matches!(with(paddr, &bad.to_le_bytes()), Err(LoadError::OutsideRam { address, .. }) if address == bad)
        );
    }
    for (field, value) in [(8, u64::MAX), (32, 0x1001), (32, u64::MAX), (40, 0x1f)] {
        assert!(
            matches!(
                with(64 + field, &value.to_le_bytes()),
                Err(LoadError::Truncated { .. })
            ),
            "{field}"
        );
    }
    let file = image();
    assert!(try_load(&file[..190]).is_err());
}

#[test]
fn the_boot_information_leads_to_everything() {
    let memory = memory(4 << 20);
    let entry = load_elf(&image(), PARAMETERS, &memory).unwrap();
    let info: spec::pvh::StartInfo = read(&memory, entry.ebx.into());
    assert_eq!((info.magic.get(), info.version.get()), (0x336e_c578, 1));
    let line: [u8; 9] = read(&memory, info.command_line.get());
    assert_eq!(&line, b"mode=all\0");
    let map: [spec::pvh::MemoryMapEntry; 5] = read(&memory, info.memory_map.get());
    let ram: u64 = map.iter().filter(|e| e.kind == 1).map(|e| e.size.get()).sum();
    assert_eq!((info.memory_map_entries.get(), ram), (5, (4 << 20) - 0x6_0000));

    let sum = |at, bytes: usize| {
        let mut table = vec![0; bytes];
        memory.read(GuestPhys(at), &mut table).unwrap();
        table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
    };
    let rsdp = info.rsdp.get();
    assert_eq!(read::<[u8; 8]>(&memory, rsdp), *b"RSD PTR ");
    assert_eq!((rsdp % 16, sum(rsdp, 20), sum(rsdp, 36)), (0, 0, 0));
    let xsdt = u64::from_le_bytes(read(&memory, rsdp + 24));
    let mut found = Vec::new();
    let length = |table| u32::from_le_bytes(read(&memory, table + 4));
    for at in (36..length(xsdt)).step_by(8) {
        let table = u64::from_le_bytes(read(&memory, xsdt + u64::from(at)));
        assert_eq!(sum(table, length(table) as usize), 0);
        let signature: [u8; 4] = read(&memory, table);
        if &signature == b"MCFG" {
            assert_eq!(u64::from_le_bytes(read(&memory, table + 44)), ECAM);
        }
        if &signature == b"APIC" {
            assert_eq!(length(table), 44 + 2 * 8 + 12, "two CPUs and an I/O APIC");
        }
        found.push(signature);
    }
    assert_eq!(found, [*b"FACP", *b"APIC", *b"MCFG"]);
}

#[test]
fn the_reset_vector_resets() {
    let memory = memory(2 << 20);
    let rom = rom::build(PARAMETERS, 2 << 20, None).unwrap();
    rom.load(&memory).unwrap();
    let mut code = [0; 9];
    memory.read(GuestPhys(0xf_fff0), &mut code).unwrap();
    // mov dx, 0xcf9; mov al, 6; out dx, al; hlt; jmp to the first.
    assert_eq!(code, [0xba, 0xf9, 0x0c, 0xb0, 6, 0xee, 0xf4, 0xeb, 0xf7]);
    let large = rom::RomImage {
        image: vec![0; 0x2_0001],
        ..rom
    };
    assert!(matches!(large.load(&memory), Err(RomError::TooLarge { .. })));
}

#[test]
fn boot_information_that_does_not_fit_is_refused() {
    let build = |command_line: &str, cpus| {
        {
            let parameters = BootParameters {
                command_line,
                cpus,
                ..PARAMETERS
            };
            rom::build(parameters, 4 << 20, None)
        }
        .map(|_| ())
    };
    assert!(matches!(
        build(&"x".repeat(0x2_0000), 1),
        Err(RomError::TooLarge { .. })
    ));
    assert_eq!(build("a\0b", 1), Err(RomError::CommandLine));
    assert_eq!(build("", 0), Err(RomError::Cpus { cpus: 0 }));
    assert_eq!(build("", 33), Err(RomError::Cpus { cpus: 33 }));
    assert_eq!(build(&"x".repeat(2048), 32), Ok(()));
}

proptest! {
    #[test]
    fn no_image_upsets_the_loader(changes in prop::collection::vec((0usize..232, any::<u8>()), 1..12), length in 0usize..240) {
        let mut file = image();
        for (at, byte) in changes {
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
        }
        file.truncate(length);
        let memory = memory(2 << 20);
        let _ = load_elf(&file, PARAMETERS, &memory);
    }
}
