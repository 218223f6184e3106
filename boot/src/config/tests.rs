use super::*;
use crate::minimal::elf;
use cohort_abi::bundle::OnExit;

const GOOD: &str = r#"
[[guest]]
name = "a"
cpus = [1]
memory = "16M"
memory-at = "0x10000000"
image = "storage"
devices = ["0000:00:04.0"]

[[guest]]
name = "b"
cpus = [2]
memory = "8M"
memory-at = "0x20000000"
image = "rogue"
devices = ["0000:00:03.0"]
"#;

fn source(text: &str) -> Source {
    Source {
        name: "test.toml".into(),
        text: text.into(),
        folder: std::env::temp_dir(),
    }
}

/// Loads `GOOD` with one line replaced, and says what is wrong: line, message and help of each problem.
#[track_caller]
fn problems(from: &str, to: &str) -> Vec<(usize, String, String)> {
    assert!(GOOD.contains(from), "the text to replace is there: {from}");
    let refused = Plan::load(source(&GOOD.replace(from, to))).expect_err("it is refused");
    refused
        .problems
        .iter()
        .map(|p| (refused.line(p), p.cause.to_string(), p.cause.help()))
        .collect()
}

#[track_caller]
fn one(from: &str, to: &str, line: usize, message: &str, help: &str) {
    let found = problems(from, to);
    assert_eq!(found.len(), 1, "one problem: {found:?}");
    let (at, text, advice) = &found[0];
    assert!(text.contains(message), "{text:?} lacks {message:?}");
    assert!(advice.contains(help), "{advice:?} lacks {help:?}");
    assert_eq!(*at, line, "{text}");
}

#[test]
fn the_demo_and_the_good_one_load() {
    let demo = Plan::load(Source::demo()).expect("the demo holds");
    assert_eq!(demo.guests.len(), 2);
    assert!(demo.allow_unsafe_interrupts);
    assert_eq!(demo.deadline_ms, 60_000);
    assert_eq!(demo.machine.disks[0].written_by.as_deref(), Some("storage"));
    let amdvi = Plan::load(Source::demo_amdvi()).expect("the demo for AMD-Vi holds");
    assert!(!amdvi.allow_unsafe_interrupts && amdvi.machine.iommu == Iommu::Amdvi);
    let on_root = |device: &&vfio_core::pci::Bdf| device.bus() == 0;
    assert!(
        amdvi
            .guests
            .iter()
            .flat_map(|guest| &guest.devices)
            .all(|device| on_root(&device))
    );
    let good = Plan::load(source(GOOD)).expect("it holds");
    assert_eq!(
        good.machine.devices, demo.machine.devices,
        "without [machine] it is the demo's"
    );
    assert_eq!(good.machine.disks[0].written_by, None, "no guest `storage` there");
    assert_eq!(&GOOD[good.guests[0].devices_at.clone()], r#"["0000:00:04.0"]"#);
}

#[test]
fn shapes() {
    one(
        r#"name = "a""#,
        "nam = \"a\"",
        3,
        "unknown field `nam`",
        "did you mean `name`?",
    );
    one(
        "cpus = [1]",
        "colour = 1\ncpus = [1]",
        4,
        "unknown field `colour`",
        "remove the line",
    );
    one(
        "cpus = [1]\n",
        "",
        2,
        "missing field `cpus`",
        "add a line `cpus = ...`",
    );
    one(
        "cpus = [1]",
        "cpus = \"1\"",
        4,
        "invalid type",
        "a list in brackets",
    );
    one(
        "cpus = [1]",
        "cpus = [-1]",
        4,
        "invalid value",
        "a number without quotes, 0 or more",
    );
    one(r#"name = "a""#, "name = 1", 3, "invalid type", "text in quotes");
    one("cpus = [1]", "cpus = [1 2]", 4, "", "docs/configuration.md");
}

#[test]
fn names() {
    one(
        r#"name = "b""#,
        r#"name = "a""#,
        11,
        "two guests have the name `a`",
        "name = \"a-2\"",
    );
    one(
        r#"name = "b""#,
        r#"name = "b c""#,
        11,
        "`b c` cannot be a guest's name",
        "1 to 32",
    );
}

#[test]
fn cpus() {
    one(
        "cpus = [2]",
        "cpus = [1]",
        12,
        "CPU 1 is given to `a` and to `b`",
        "give `b` another",
    );
    one(
        "cpus = [2]",
        "cpus = [0]",
        12,
        "CPU 0, which the hypervisor keeps",
        "cpus = [1]",
    );
    one(
        "cpus = [2]",
        "cpus = [3]",
        12,
        "the machine has CPUs 0 to 2",
        "cpus = 4",
    );
    one("cpus = [2]", "cpus = []", 12, "`b` has no CPU", "cpus = [1]");
}

#[test]
fn memory() {
    one(
        "\"8M\"",
        "\"7M\"",
        13,
        "not a positive multiple of 2M",
        "memory = \"8M\"",
    );
    one("\"8M\"", "0", 13, "0 of memory", "memory = \"2M\"");
    one("\"8M\"", "\"8Q\"", 13, "`8Q` is not a size", "\"16M\"");
    one(
        "\"8M\"",
        "\"2G\"",
        13,
        "the machine has 896M for them",
        "memory = \"2240M\"",
    );
    one(
        "0x20000000",
        "0x20000001",
        14,
        "not a multiple of 2M",
        "memory-at = \"0x20000000\"",
    );
    one(
        "0x20000000",
        "0x1000000",
        14,
        "where the hypervisor is",
        "0x4000000",
    );
    one(
        "0x20000000",
        "0x3fe00000",
        14,
        "RAM ends at 0x40000000",
        "lower memory-at",
    );
    one(
        "0x20000000",
        "0xffffffffffe00000",
        14,
        "RAM ends at 0x40000000",
        "lower memory-at",
    );
    let overlap = "overlaps from 0x10800000 to 0x11000000";
    one(
        "0x20000000",
        "0x10800000",
        14,
        overlap,
        "memory-at = \"0x11000000\"",
    );
}

#[test]
fn devices() {
    let message = "0000:00:04.0 is given to `a` and to `b`";
    one(
        "0000:00:03.0",
        "0000:00:04.0",
        16,
        message,
        "remove it from the `devices` of `b`",
    );
    one(
        "\"0000:00:03.0\"",
        "\"0000:00:03.0\", \"00:03.0\"",
        16,
        "0000:00:03.0 is given to `b` twice",
        "remove one of them",
    );
    one(
        "0000:00:03.0",
        "edu",
        16,
        "`edu` is not a PCI address",
        "0000:00:04.0",
    );
    let many = vec!["\"0:0.0\""; 40].join(",");
    let found = problems("\"0000:00:03.0\"", &many);
    assert!(found[0].1.contains("40 devices, 32 at most"), "{found:?}");
}

#[test]
fn devices_that_are_split_off() {
    let with = |list: &str| GOOD.replacen("\n[[guest]]", &format!("split-unsafe = {list}\n[[guest]]"), 1);
    let good = Plan::load(source(&with("[\"0000:03:02.0\", \"01:00.1\"]"))).expect("it holds");
    let found: Vec<String> = good.split_unsafe.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["0000:01:00.1", "0000:03:02.0"]);
    let said = |list: &str| {
        let refused = Plan::load(source(&with(list))).expect_err("it is refused");
        let told = |p: &Problem| (refused.line(p), p.cause.to_string());
        refused.problems.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(
        said("[\"0000:03:02.0\", \"03:02.0\"]"),
        [(1, "device 0000:03:02.0 is in split-unsafe twice".into())]
    );
    let wrong = said("[\"pcie\"]");
    assert!(wrong[0].1.contains("`pcie`"), "{wrong:?}");
    let many: Vec<String> = (0..=MAX_SPLIT).map(|n| format!("{:x}:00.0", n % 256)).collect();
    let many = said(&format!("{many:?}"));
    assert!(
        many.iter()
            .any(|(_, text)| text.contains("257 devices, 256 at most")),
        "{many:?}"
    );
}

#[test]
fn images() {
    one(
        "\"rogue\"",
        "\"nothere.elf\"",
        15,
        "there is no image",
        "\"storage\", \"rogue\"",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guest");
    let config = GOOD.replace("\"rogue\"", &format!("\"{}\"", path.display()));
    for (bytes, message) in [
        (b"plain".to_vec(), Some("not an ELF64")),
        (elf(&[0xf4], false), Some("no PVH note")),
        (elf(&[0xf4], true), None),
    ] {
        std::fs::write(&path, bytes).expect("it is written");
        let text = Plan::load(source(&config)).map_or_else(|refused| refused.to_string(), |_| String::new());
        match message {
            Some(message) => assert!(text.contains(message), "{text}"),
            None => assert_eq!(text, ""),
        }
    }
}

#[test]
fn what_is_done_when_a_guest_ends() {
    let image = "image = \"rogue\"";
    for (lines, on_exit) in [
        ("", OnExit::Stop),
        ("on-exit = \"stop\"", OnExit::Stop),
        ("on-exit = \"restart\"", OnExit::Restart { times: 3 }),
        (
            "on-exit = \"restart\"\nrestarts = 10000",
            OnExit::Restart { times: 10_000 },
        ),
    ] {
        let text = GOOD.replace(image, &format!("{image}\n{lines}"));
        let plan = Plan::load(source(&text)).expect("it holds");
        assert_eq!(
            (plan.guests[0].on_exit, plan.guests[1].on_exit),
            (OnExit::Stop, on_exit)
        );
    }
}

#[test]
fn the_rest() {
    one(
        "image = \"rogue\"",
        "image = \"rogue\"\nexpect = \"win\"",
        16,
        "`win` is not an exp",
        "\"stopped\"",
    );
    let image = "image = \"rogue\"";
    let with = |lines: &str| format!("{image}\n{lines}");
    one(
        image,
        &with("on-exit = \"again\""),
        16,
        "`again` is nothing",
        "\"restart\"",
    );
    one(
        image,
        &with("restarts = 3"),
        16,
        "`b` has `restarts`",
        "on-exit = \"restart\"",
    );
    for number in [0, 10_001] {
        let lines = with(&format!("on-exit = \"restart\"\nrestarts = {number}"));
        one(image, &lines, 17, &format!("again {number} times"), "1 to 10000");
    }
    one(
        "image = \"rogue\"",
        "image = \"rogue\"\ncmdline = \"a\\u0000\"",
        16,
        "command line",
        "printable",
    );
    one(
        "image = \"rogue\"",
        "image = \"rogue\"\non-fault = \"panic\"",
        16,
        "`panic` is not what can be done",
        "on-fault = \"report\"",
    );
    one(
        "[[guest]]\nname = \"a\"",
        "deadline = 0\n[[guest]]\nname = \"a\"",
        2,
        "deadline of 0",
        "1 to 3600",
    );
    let empty = Plan::load(source("")).expect_err("nothing to run");
    assert_eq!(empty.problems[0].cause, Cause::NoGuest);
}

#[test]
fn machines() {
    let with = |machine: &str| format!("devices = [\"0000:00:03.0\"]\n[machine]\n{machine}");
    let from = "devices = [\"0000:00:03.0\"]";
    one(
        from,
        &with("iommu = \"smmu\""),
        18,
        "`smmu` is not an IOMMU",
        "\"virtio\", \"vtd\", \"amdvi\" or \"none\"",
    );
    one(
        from,
        &with("memory = \"1M\""),
        18,
        "a machine with 1M",
        "\"256M\" to",
    );
    let disk = |disk: &str| with(&format!("[[machine.disk]]\nid = \"d\"\nsize = \"1M\"\n{disk}"));
    one(
        from,
        &disk("written-by = \"c\""),
        21,
        "no guest `c`",
        "leave the line out",
    );
    one(
        from,
        &disk("[[machine.disk]]\nid = \"d\"\nsize = \"1M\""),
        22,
        "used twice",
        "id = ",
    );
}

#[test]
fn file_systems_and_networks_name_their_guest() {
    let from = "devices = [\"0000:00:03.0\"]";
    let with = |part: &str| format!("{from}\n[machine]\n{part}");
    let disk = |rest: &str| with(&format!("[[machine.disk]]\nid = \"d\"\nsize = \"1M\"\n{rest}"));
    let made = Plan::load(source(
        &GOOD.replace(from, &disk("written-by = \"a\"\nfilesystem = \"ext4\"")),
    ));
    assert_eq!(made.expect("it holds").machine.disks[0].used_as, DiskUse::Ext4);
    one(
        from,
        &disk("written-by = \"a\"\nfilesystem = \"fat\""),
        22,
        "`fat` is no file system",
        "ext4",
    );
    one(
        from,
        &disk("filesystem = \"ext4\""),
        21,
        "nobody is named",
        "written-by",
    );
    let network = |rest: &str| with(&format!("[[machine.network]]\nid = \"n\"\n{rest}"));
    let used = Plan::load(source(&GOOD.replace(from, &network("used-by = \"b\""))));
    let used = &used.expect("it holds").machine.networks[0];
    assert_eq!((used.id.as_str(), used.used_by.as_deref()), ("n", Some("b")));
    one(
        from,
        &network("used-by = \"c\""),
        20,
        "no guest `c`",
        "nothing is then verified",
    );
    one(
        from,
        &network("[[machine.disk]]\nid = \"n\"\nsize = \"1M\""),
        19,
        "used twice",
        "id = ",
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_files_order() {
    let text = GOOD
        .replace("[2]", "[1]")
        .replace("\"8M\"", "\"7M\"")
        .replace("00:03.0", "00:04.0");
    let refused = Plan::load(source(&text)).expect_err("refused");
    let lines: Vec<_> = refused
        .problems
        .iter()
        .map(|problem| refused.line(problem))
        .collect();
    assert_eq!(lines, [12, 13, 16]);
    let shown = refused.to_string();
    assert!(
        shown.contains("test.toml:12") && shown.contains("help: remove it from"),
        "{shown}"
    );
}

#[test]
fn memory_above_four_gigabytes_is_ram_of_a_large_machine() {
    let machine = "devices = [\"0000:00:03.0\"]\n[machine]\nmemory = \"4G\"";
    let large = GOOD.replace("devices = [\"0000:00:03.0\"]", machine);
    let at = |address: &str| Plan::load(source(&large.replace("0x20000000", address)));
    assert!(at("0x100000000").is_ok());
    assert!(at("0x80000000").is_err(), "the hole for devices");
    assert!(at("0x17fe00000").is_err(), "beyond the end");
}
