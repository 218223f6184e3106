//! bzImages built by hand, whole and broken.

use super::super::layout::ROM;
use super::super::loader::{self, Entry};
use super::super::memory::fake::memory;
use super::*;
use proptest::prelude::*;

const RAM: u64 = 32 << 20;
const PARAMETERS: BootParameters<'static> = BootParameters {
    command_line: "console=ttyS0 -- x",
    cpus: 1,
    initrd: b"initial",
    tsc_khz: 1_234_567,
};
const PAYLOAD: usize = 0x1000;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A kernel of one real-mode sector and 4 KiB that wants 16 MiB, and 8 MiB from there.
fn image() -> Vec<u8> {
    let mut image = vec![0x90; 2 * SECTOR + PAYLOAD];
    image[..2 * SECTOR].fill(0);
    put(&mut image, boot::SETUP_SECTS, &[1]);
    put(&mut image, boot::SYSSIZE, &(PAYLOAD as u32 / 16).to_le_bytes());
    put(&mut image, boot::BOOT_FLAG, &boot::BOOT_FLAG_VALUE.to_le_bytes());
    put(&mut image, boot::JUMP, &[0x6a]);
    put(&mut image, boot::HEADER, &boot::HEADER_VALUE);
    put(&mut image, boot::VERSION, &0x20fu16.to_le_bytes());
    put(&mut image, boot::INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
    put(&mut image, boot::KERNEL_ALIGNMENT, &0x20_0000u32.to_le_bytes());
    put(&mut image, boot::RELOCATABLE_KERNEL, &[1]);
    put(&mut image, boot::XLOADFLAGS, &boot::XLF_KERNEL_64.to_le_bytes());
    put(&mut image, boot::CMDLINE_SIZE, &2047u32.to_le_bytes());
    put(&mut image, boot::PREF_ADDRESS, &0x100_0000u64.to_le_bytes());
    put(&mut image, boot::INIT_SIZE, &0x80_0000u32.to_le_bytes());
    image
}

fn with(at: usize, bytes: &[u8]) -> Result<LongEntry, LoadError> {
    let mut image = image();
    put(&mut image, at, bytes);
    load(&image, PARAMETERS, &memory(RAM))
}

fn read<const N: usize>(memory: &GuestMemory, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    memory.read(GuestPhys(at), &mut bytes).unwrap();
    bytes
}

fn word(memory: &GuestMemory, at: u64) -> u64 {
    u32::from_le_bytes(read(memory, at)).into()
}

#[test]
fn the_zero_page_leads_to_everything() {
    let memory = memory(RAM);
    let Ok(Entry::Long(entry)) = loader::load(&image(), PARAMETERS, &memory) else {
        panic!("it is a bzImage")
    };
    assert_eq!((entry.rip, entry.rsi), (0x100_0200, BOOT_PARAMS));
    assert_eq!(read::<4>(&memory, 0x100_0000), [0x90; 4]);
    assert_eq!(read::<4>(&memory, 0x100_0000 + PAYLOAD as u64), [0; 4]);
    let field = |at: usize| word(&memory, BOOT_PARAMS + at as u64);
    assert_eq!(
        field(boot::HEADER),
        u64::from(u32::from_le_bytes(boot::HEADER_VALUE))
    );
    let line: [u8; 42] = read(&memory, field(boot::CMD_LINE_PTR));
    assert_eq!(&line, b"tsc_early_khz=1234567 console=ttyS0 -- x\0\0");
    let initrd = field(boot::RAMDISK_IMAGE);
    assert_eq!((initrd % PAGE, field(boot::RAMDISK_SIZE)), (0, 7));
    assert!(initrd + PAGE == RAM && &read::<8>(&memory, initrd) == b"initial\0");
    assert_eq!(&read::<8>(&memory, field(boot::ACPI_RSDP_ADDR)), b"RSD PTR ");
    assert!(field(boot::ACPI_RSDP_ADDR) >= ROM);
    assert_eq!(
        read::<1>(&memory, BOOT_PARAMS + boot::TYPE_OF_LOADER as u64),
        [0xff]
    );
    let entries = usize::from(read::<1>(&memory, BOOT_PARAMS + boot::E820_ENTRIES as u64)[0]);
    let ram: u64 = (0..entries)
        .map(|number| boot::E820_TABLE + number * boot::E820_ENTRY)
        .filter(|at| field(at + 16) == 1)
        .map(|at| field(at + 8))
        .sum();
    assert_eq!(ram, RAM - 0x6_0000);
}

#[test]
fn the_first_page_tables_map_four_gib_one_to_one() {
    let memory = memory(RAM);
    let entry = load(&image(), PARAMETERS, &memory).unwrap();
    let next = |table: u64, index: u64| u64::from_le_bytes(read(&memory, (table & !0xfff) + index * 8));
    for address in [0, 0x7000, 0x100_0200, 0xffff_ffff] {
        let page = next(
            next(next(entry.cr3, address >> 39), address >> 30),
            address >> 21 & 511,
        );
        assert_eq!(page, address >> 21 << 21 | 0x83, "{address:#x}");
    }
    assert_eq!(next(next(entry.cr3, 0), 4), 0);
    let descriptor = |selector: u16| next(entry.gdt, u64::from(selector) / 8);
    assert_eq!(descriptor(entry.code) >> 53 & 1, 1, "64-bit code");
    assert_eq!(descriptor(entry.data) >> 40 & 0xff, 0x93, "present data");
    assert_eq!(entry.gdt_limit, 31);
}

#[test]
fn a_kernel_that_does_not_fit_where_it_wants_goes_lower_or_is_refused() {
    assert_eq!(
        with(boot::PREF_ADDRESS, &(RAM - 0x1000).to_le_bytes()).map(|e| e.rip),
        Ok(0x20_0200)
    );
    assert_eq!(
        with(boot::PREF_ADDRESS, &u64::MAX.to_le_bytes()).map(|e| e.rip),
        Ok(0x20_0200)
    );
    assert_eq!(with(boot::PREF_ADDRESS, &[0; 8]).map(|e| e.rip), Ok(0x20_0200));
    assert!(matches!(
        with(boot::INIT_SIZE, &u32::MAX.to_le_bytes()),
        Err(LoadError::BzImage(BzImageError::Memory { ram: RAM, .. }))
    ));
    let fixed = |wanted: u64, alignment: u32| {
        let mut image = image();
        put(&mut image, boot::RELOCATABLE_KERNEL, &[0]);
        put(&mut image, boot::PREF_ADDRESS, &wanted.to_le_bytes());
        put(&mut image, boot::KERNEL_ALIGNMENT, &alignment.to_le_bytes());
        load(&image, PARAMETERS, &memory(RAM))
    };
    assert!(fixed(0x100_0000, 0).is_ok());
    for (wanted, alignment) in [
        (0, 4096),
        (0x1000, 4096),
        (0x100_0001, 4096),
        (u64::MAX, 4096),
        (0, 0),
        (0, 3),
    ] {
        assert!(matches!(
            fixed(wanted, alignment),
            Err(LoadError::BzImage(BzImageError::Header { .. }))
        ));
    }
    assert!(matches!(
        fixed(RAM, 4096),
        Err(LoadError::BzImage(BzImageError::Memory { .. }))
    ));
}

#[test]
fn broken_images_are_told_apart() {
    let refused = |at, bytes: &[u8]| match with(at, bytes) {
        Err(LoadError::BzImage(error)) => error,
        other => panic!("{other:?}"),
    };
    let no_entry = |version| BzImageError::No64BitEntry { version };
    assert_eq!(refused(boot::VERSION, &[0x0b, 2]), no_entry(0x20b));
    assert_eq!(refused(boot::XLOADFLAGS, &[0, 0]), no_entry(0x20f));
    assert_eq!(refused(boot::JUMP, &[0x20]), no_entry(0x20f));
    assert_eq!(refused(boot::JUMP, &[0xff]), no_entry(0x20f));
    for (at, bytes) in [
        (boot::SYSSIZE, &[0xff; 4][..]),
        (boot::SYSSIZE, &[2, 1, 0, 0]),
        (boot::SYSSIZE, &[0; 4]),
        (boot::SETUP_SECTS, &[0xff]),
    ] {
        assert!(
            matches!(refused(at, bytes), BzImageError::Truncated { .. }),
            "{at:#x} {bytes:?}"
        );
    }
    let cut = |bytes: usize| {
        let image = image();
        load(&image[..image.len() - bytes], PARAMETERS, &memory(RAM))
    };
    assert!(cut(15).is_ok(), "the length is rounded up");
    assert!(matches!(
        cut(16),
        Err(LoadError::BzImage(BzImageError::Truncated { .. }))
    ));
    assert_eq!(
        refused(boot::CMDLINE_SIZE, &[8, 0, 0, 0]),
        BzImageError::CommandLine { length: 40, most: 8 }
    );
    assert!(!is_one(b"") && !is_one(&image()[..boot::HEADER]) && is_one(&image()));
}

#[test]
fn an_initial_file_system_that_does_not_fit_is_refused() {
    let big = vec![1; 0x80_0001];
    let parameters = BootParameters {
        initrd: &big,
        ..PARAMETERS
    };
    assert!(matches!(
        load(&image(), parameters, &memory(RAM)),
        Err(LoadError::Initrd {
            size: 0x80_0001,
            above: 0x180_0000
        })
    ));
    assert!(matches!(
        with(boot::INITRD_ADDR_MAX, &[0; 4]),
        Err(LoadError::Initrd { .. })
    ));
    let parameters = BootParameters {
        initrd: &big[1..],
        ..PARAMETERS
    };
    assert!(load(&image(), parameters, &memory(RAM)).is_ok());
    let parameters = BootParameters {
        initrd: &[],
        command_line: "tsc_early_khz=5",
        ..PARAMETERS
    };
    let memory = memory(RAM);
    load(&image(), parameters, &memory).unwrap();
    assert_eq!(word(&memory, BOOT_PARAMS + boot::RAMDISK_IMAGE as u64), 0);
    assert_eq!(&read::<16>(&memory, COMMAND_LINE), b"tsc_early_khz=5\0");
}

proptest! {
    #[test]
    fn no_image_upsets_the_loader(
        changes in prop::collection::vec((0x1f0usize..0x270, any::<u8>()), 1..12),
        length in 0usize..2 * SECTOR + PAYLOAD + 1,
    ) {
        let mut file = image();
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(length);
        let memory = memory(4 << 20);
        if let Ok(entry) = load(&file, PARAMETERS, &memory) {
            prop_assert!(entry.rip >= HIGH_RAM && entry.rip < 4 << 20);
        }
    }
}
