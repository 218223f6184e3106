//! What ELF files say of what they need: programs of libraries, modules of modules.

use anyhow::Context as _;
use elf::ElfBytes;
use elf::abi::DT_NEEDED;
use elf::endian::LittleEndian;

/// The libraries that a program or a library names (System V ABI, `DT_NEEDED`).
pub(super) fn libraries(bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).context("not an ELF file")?;
    let data = file.find_common_data().context("its tables are broken")?;
    let (Some(dynamic), Some(texts)) = (data.dynamic, data.dynsyms_strs) else {
        return Ok(Vec::new());
    };
    let needed = dynamic.iter().filter(|entry| entry.d_tag == DT_NEEDED);
    needed
        .map(|entry| Ok(texts.get(entry.d_val() as usize)?.to_owned()))
        .collect()
}

/// The modules that a kernel module needs before it, from its `.modinfo`: texts `key=value`, each ended by a zero. Both
/// what it cannot do without (`depends`) and what its author wants loaded first (`softdep`).
pub(super) fn modules(bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).context("not an ELF file")?;
    let section = file.section_header_by_name(".modinfo")?;
    let section = section.context("it is no kernel module: it has no .modinfo")?;
    let (info, _) = file.section_data(&section)?;
    let mut out = Vec::new();
    for text in info.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(text);
        if let Some(names) = text.strip_prefix("depends=") {
            out.extend(names.split(',').map(String::from));
        } else if let Some(names) = text.strip_prefix("softdep=pre: ") {
            let before = names.split("post:").next().unwrap_or_default();
            out.extend(before.split_whitespace().map(String::from));
        }
    }
    out.retain(|name| !name.is_empty());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_libraries() {
        let own = std::fs::read(std::env::current_exe().expect("it has a path")).expect("it reads");
        let found = libraries(&own).expect("it is ELF");
        assert!(found.iter().any(|name| name.starts_with("libc.so")), "{found:?}");
        assert!(libraries(b"\x7fELF").is_err() && modules(&own).is_err());
    }
}
