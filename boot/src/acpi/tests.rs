//! What is said of QEMU's tables and of broken files.

use super::report;

const DMAR: &str = "444d4152780000000107424f4348532042585043202020200100000042585043010000002601000000000000000000000000\
    4800000000000000d9fe000000000308000000ff000001080000000000000108000000000300020800000000050001080000\
    00001f000108000000001f020108000000001f03";
const IVRS: &str = "495652537800000001b8424f43485320425850432020202001000000425850430100000000280000000000000000000010d1\
    4800080040000000d8fe00000000000000004400000002000000020800000218000002200000430001000000010004ff0100\
    02f8000002fa000002fb00004800000000a00001";
const MADT: &str = "41504943800000000177424f4348532042585043202020200100000042585043010000000000e0fe01000000000800000100\
    00000008010101000000010c00000000c0fe00000000020a0000020000000000020a0005050000000d00020a000909000000\
    0d00020a000a0a0000000d00020a000b0b0000000d000406ff000001";
const MCFG: &str = "4d4346473c000000018c424f4348532042585043202020200100000042585043010000000000000000000000000000b00000\
    0000000000ff00000000";

fn file(name: &str, hex: &str) -> (String, Vec<u8>) {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    (name.into(), digits.chunks(2).map(pair).collect())
}

fn seal(table: &mut [u8]) {
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0;
    table[9] = table.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
}

#[test]
fn vtd_is_told_with_what_it_lacks() {
    let mut dmar = file("dmar.dat", DMAR);
    dmar.1.extend([1, 0, 34, 0, 0, 0, 0, 0]);
    dmar.1.extend(0x7b80_0000u64.to_le_bytes());
    dmar.1.extend(0x7fff_ffffu64.to_le_bytes());
    dmar.1.extend([2, 10, 0, 0, 0, 0, 0x1c, 0, 0, 0]);
    seal(&mut dmar.1);
    let mut madt = file("apic.dat", MADT);
    let at = madt
        .1
        .windows(4)
        .position(|bytes| bytes == [1, 12, 0, 0])
        .expect("an I/O APIC");
    madt.1[at + 2] = 7;
    seal(&mut madt.1);
    let report = report(&[dmar, madt, file("mcfg.dat", MCFG)]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    for part in [
        "dmar.dat: DMAR\n",
        "DMA reaches 39 bits of address; interrupt remapping: yes\n",
        "unit 0: registers 0xfed90000 to 0xfed90fff, segment 0000: 0000:ff:00.0 (I/O APIC 0), 0000:00:00.0, ",
        "reserved memory 0x7b800000 to 0x7fffffff: 0000:00:1c.0 > 00.0 and all behind it\n",
        "    0000:00:1c.0 > 00.0 and all behind it: firmware has it use memory 0x7b800000 to 0x7fffffff",
        "    whatever in segment 0000 no unit names",
        "    interrupts of I/O APIC 7: no unit names it",
        "apic.dat: MADT: 2 processors, I/O APICs: 7 at 0xfec00000\n",
        "mcfg.dat: MCFG: segment 0000 buses 00 to ff\n",
    ] {
        assert!(report.text.contains(part), "{part:?} is in\n{}", report.text);
    }
}

#[test]
fn amdvi_is_told_with_what_it_lacks() {
    let mut mcfg = file("mcfg.dat", MCFG);
    let second = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    mcfg.1.extend(second);
    seal(&mut mcfg.1);
    let report = report(&[file("ivrs.dat", IVRS), file("apic.dat", MADT), mcfg]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    for part in [
        "40 bits of physical address\n",
        "unit 0: 0000:00:01.0, registers at 0xfed80000, by block 0x10\n",
        "    01:00.0 to 01:1f.7 seen as 01:00.0\n",
        "    I/O APIC 0 as 00:14.0\n",
        "    0000:00:01.0: it is an IOMMU\n",
        "    0000, 00:04.1 to 00:1e.7: no unit has it\n",
        "    0001, 00:00.0 to ff:1f.7: no unit has it\n",
    ] {
        assert!(report.text.contains(part), "{part:?} is in\n{}", report.text);
    }
    assert!(!report.text.contains("interrupts of"), "{}", report.text);
}

#[test]
fn files_that_cannot_be_used_are_all_said() {
    let mut broken = file("broken.dat", DMAR);
    broken.1[60] ^= 1;
    let mut dmar = file("short.dat", DMAR);
    dmar.1.pop();
    let text = (String::from("dump.txt"), b"DMAR @ 0x000000007B7FE000\n".to_vec());
    let report = report(&[
        broken,
        dmar,
        text,
        file("a.dat", IVRS),
        file("b.dat", IVRS),
        (String::from("empty"), vec![]),
    ]);
    let [broken, short, text, empty, twice] = &report.problems[..] else {
        panic!("{:?}", report.problems)
    };
    assert!(
        broken.starts_with("broken.dat: ACPI table DMAR, offset 0x0: the checksum is wrong"),
        "{broken}"
    );
    assert!(
        short.starts_with("short.dat: ACPI table DMAR, offset 0x4: the length is 120 bytes"),
        "{short}"
    );
    assert!(text.contains("acpidump -b"), "{text}");
    assert!(empty.starts_with("empty: ACPI table ????, offset 0x0"), "{empty}");
    assert!(twice.starts_with("b.dat: a second IVRS after a.dat"), "{twice}");
}

#[test]
fn a_machine_without_an_iommu_is_told_as_such() {
    let report = report(&[file("apic.dat", MADT)]);
    assert!(report.problems.is_empty());
    assert!(
        report.text.contains("not assignable: every device"),
        "{}",
        report.text
    );
}
