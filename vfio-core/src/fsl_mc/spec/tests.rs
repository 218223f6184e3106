//! Layouts against byte-level vectors derived from the table of commands, and against themselves.

use proptest::prelude::*;
use std::vec::Vec;

use super::dprc::{ObjectFlags, ObjectState, RegionAttributes, ResetOptions};
use super::*;
use crate::fsl_mc::ObjectType;
use crate::testing::cases;

/// What `layout` writes, as offset and byte of everything that is not zero.
fn bytes(layout: &impl Layout) -> Vec<(usize, u8)> {
    let mut frame = Frame::EMPTY;
    layout.put(&mut frame);
    let bytes = frame.bytes().iter().copied().enumerate();
    bytes.filter(|(_, byte)| *byte != 0).collect()
}

/// `text` at `offset`, as [`bytes`] gives it.
fn text(offset: usize, text: &str) -> Vec<(usize, u8)> {
    text.bytes()
        .enumerate()
        .map(|(at, byte)| (offset + at, byte))
        .collect()
}

#[test]
fn the_header_has_its_fields_where_the_table_has_them() {
    let header = Header {
        source: 0x11,
        hw_flags: HwFlags::HIGH_PRIORITY,
        status: Status::Ready,
        sw_flags: SwFlags::NO_INTERRUPT,
        token: 0x2233,
        command: CommandWord::standard(id::GET_OBJ),
    };
    assert_eq!(
        header.into_bits().to_le_bytes(),
        [0x11, 0x80, 1, 1, 0x33, 0x22, 0xa1, 0x15]
    );
    assert_eq!(header.command.0, 0x15a1);
    assert_eq!(header.command.id(), id::GET_OBJ);
    assert_eq!(header.command.version(), 1);
}

#[test]
fn statuses_have_the_codes_of_the_table() {
    let table = [
        (0, Status::Ok),
        (1, Status::Ready),
        (3, Status::Refused(Refused::Authentication)),
        (4, Status::Refused(Refused::NoPrivilege)),
        (5, Status::Refused(Refused::Dma)),
        (6, Status::Refused(Refused::Configuration)),
        (7, Status::Refused(Refused::TimedOut)),
        (8, Status::Refused(Refused::NoResource)),
        (9, Status::Refused(Refused::NoMemory)),
        (0xa, Status::Refused(Refused::Busy)),
        (0xb, Status::Refused(Refused::Unsupported)),
        (0xc, Status::Refused(Refused::InvalidState)),
        (2, Status::Refused(Refused::Other(2))),
        (0xd, Status::Refused(Refused::Other(0xd))),
        (0xff, Status::Refused(Refused::Other(0xff))),
    ];
    for (code, status) in table {
        assert_eq!(Status::from_code(code), status);
    }
    for code in 0..=u8::MAX {
        assert_eq!(Status::from_code(code).code(), code);
    }
}

#[test]
fn open_commands_have_the_numbers_of_the_table() {
    for (kind, open) in ObjectType::ALL.into_iter().zip(0x801..) {
        assert_eq!(id::open(kind), CommandId(open));
        assert_eq!(id::typed(id::open(kind)), Some(id::Typed::Open(kind)));
        assert_eq!(id::typed(id::create(kind)), Some(id::Typed::Create(kind)));
        assert_eq!(id::typed(id::destroy(kind)), Some(id::Typed::Destroy(kind)));
        assert_eq!(
            id::typed(id::api_version(kind)),
            Some(id::Typed::ApiVersion(kind))
        );
    }
    assert_eq!(id::api_version(ObjectType::Dprc), CommandId(0xa05));
    assert_eq!(id::create(ObjectType::Dpni), CommandId(0x901));
    assert_eq!(id::typed(id::CLOSE), None);
    assert_eq!(id::typed(CommandId(0x811)), None);
}

#[test]
fn commands_have_the_numbers_of_the_table() {
    fn number<C: Command>(_: &C) -> u16 {
        C::ID.0
    }
    let (kind, index) = (ObjectType::Dpni, 0);
    let set_irq = irq::SetIrq {
        value: 0,
        index,
        address: 0,
        number: 0,
    };
    let found = [
        number(&common::Close),
        number(&common::Enable),
        number(&common::Disable),
        number(&dprc::GetAttributes),
        number(&common::Reset),
        number(&common::IsEnabled),
        number(&set_irq),
        number(&irq::SetIrqEnable { enable: true, index }),
        number(&irq::GetIrqEnable { index }),
        number(&irq::SetIrqMask { mask: 0, index }),
        number(&irq::GetIrqMask { index }),
        number(&irq::GetIrqStatus { status: 0, index }),
        number(&irq::ClearIrqStatus { status: 0, index }),
        number(&dpmng::GetContainerId),
        number(&dpmng::GetVersion),
        number(&dprc::GetObjCount),
        number(&dprc::GetObj { index: 0 }),
        number(&dprc::GetObjRegion {
            number: 0,
            index,
            kind,
        }),
        number(&dprc::GetConnection {
            number: 0,
            interface: 0,
            kind,
        }),
        number(&dpcon::SetNotification {
            dpio: 0,
            priority: 0,
            context: 0,
        }),
        number(&dpio::SetStashing { destination: 0 }),
    ];
    let table = [
        0x800, 2, 3, 4, 5, 6, 0x10, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x830, 0x831, 0x159, 0x15a, 0x15e,
        0x16c, 0x100, 0x120,
    ];
    assert_eq!(found, table);
}

#[test]
fn requests_have_their_fields_where_the_table_has_them() {
    assert_eq!(
        bytes(&common::Open { number: 0x0403_0201 }),
        [(8, 1), (9, 2), (10, 3), (11, 4)]
    );
    assert_eq!(bytes(&common::Close), []);
    assert_eq!(bytes(&dprc::GetObj { index: 0x0201 }), [(8, 1), (9, 2)]);
    let region = dprc::GetObjRegion {
        number: 7,
        index: 2,
        kind: ObjectType::Dpio,
    };
    assert_eq!(bytes(&region), [vec![(8, 7), (14, 2)], text(32, "dpio")].concat());
    let irq = irq::SetIrq {
        value: 1,
        index: 2,
        address: 3 << 56 | 4,
        number: 5,
    };
    assert_eq!(bytes(&irq), [(8, 1), (12, 2), (16, 4), (23, 3), (24, 5)]);
    let object_irq = dprc::SetObjIrq {
        value: 1,
        index: 2,
        address: 3,
        irq_number: 4,
        number: 5,
        kind: ObjectType::Dpni,
    };
    let expected = [vec![(8, 1), (12, 2), (16, 3), (24, 4), (28, 5)], text(32, "dpni")].concat();
    assert_eq!(bytes(&object_irq), expected);
    assert_eq!(
        bytes(&irq::SetIrqEnable {
            enable: true,
            index: 3
        }),
        [(8, 1), (12, 3)]
    );
    assert_eq!(bytes(&irq::GetIrqEnable { index: 3 }), [(12, 3)]);
    assert_eq!(
        bytes(&irq::SetIrqMask {
            mask: 0x8000_0000,
            index: 3
        }),
        [(11, 0x80), (12, 3)]
    );
    assert_eq!(bytes(&irq::GetIrqMask { index: 3 }), [(12, 3)]);
    assert_eq!(
        bytes(&irq::GetIrqStatus { status: 2, index: 3 }),
        [(8, 2), (12, 3)]
    );
    assert_eq!(
        bytes(&irq::ClearIrqStatus { status: 2, index: 3 }),
        [(8, 2), (12, 3)]
    );
    let reset = dprc::ResetContainer {
        container: 6,
        options: ResetOptions::NON_RECURSIVE,
    };
    assert_eq!(bytes(&reset), [(8, 6), (12, 1)]);
    let connection = dprc::GetConnection {
        number: 1,
        interface: 2,
        kind: ObjectType::Dpmac,
    };
    assert_eq!(
        bytes(&connection),
        [vec![(8, 1), (12, 2)], text(16, "dpmac")].concat()
    );
    let notification = dpcon::SetNotification {
        dpio: 1,
        priority: 2,
        context: 3,
    };
    assert_eq!(bytes(&notification), [(8, 1), (12, 2), (16, 3)]);
}

/// A frame whose byte at each offset is that offset.
fn counting() -> Frame {
    Frame::new(core::array::from_fn(|at| at as u8))
}

fn u16_at(at: u16) -> u16 {
    at | (at + 1) << 8
}

fn u32_at(at: u16) -> u32 {
    u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16
}

fn u64_at(at: u16) -> u64 {
    u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32
}

#[test]
fn answers_have_their_fields_where_the_table_has_them() {
    let frame = counting();
    let version = common::ApiVersionAnswer::get(&frame).unwrap();
    assert_eq!((version.major, version.minor), (u16_at(8), u16_at(10)));
    let version = dpmng::Version::get(&frame).unwrap();
    assert_eq!(
        (version.revision, version.major, version.minor),
        (u32_at(8), u32_at(12), u32_at(16))
    );
    assert_eq!(dpmng::ContainerId::get(&frame).unwrap().number, u32_at(8));
    let found = dprc::Attributes::get(&frame).unwrap();
    assert_eq!(
        (found.container, found.icid, found.options, found.portal),
        (u32_at(8), u16_at(12), u32_at(16), u32_at(20))
    );
    assert_eq!(dprc::ObjCount::get(&frame).unwrap().count, u32_at(12));
    let region = dprc::ObjRegion::get(&frame).unwrap();
    assert_eq!(
        (region.offset, region.size, region.kind, region.base),
        (u64_at(16), u32_at(24), 28, u64_at(40))
    );
    assert_eq!(
        region.attributes,
        RegionAttributes::from_bits_truncate(u32_at(32))
    );
    assert_eq!(irq::IrqMask::get(&frame).unwrap().mask, u32_at(8));
    assert_eq!(irq::IrqStatus::get(&frame).unwrap().status, u32_at(8));
    let pool = dpbp::Attributes::get(&frame).unwrap();
    assert_eq!(
        (pool.pool, pool.number, pool.major, pool.minor),
        (u16_at(10), u32_at(12), u16_at(16), u16_at(18))
    );
    let con = dpcon::Attributes::get(&frame).unwrap();
    assert_eq!(
        (con.number, con.channel, con.priorities),
        (u32_at(8), u16_at(12), 14)
    );
    let io = dpio::Attributes::get(&frame).unwrap();
    assert_eq!(
        (io.number, io.portal, io.priorities, io.channel_mode()),
        (u32_at(8), u16_at(12), 14, 3)
    );
    assert_eq!((io.cache_enabled, io.cache_inhibited), (u64_at(16), u64_at(24)));
    assert_eq!((io.qbman_version, io.clock), (u32_at(32), u32_at(40)));
    let ni = dpni::Attributes::get(&frame).unwrap();
    assert_eq!(
        (ni.options, ni.queues, ni.traffic_classes, ni.mac_filter),
        (u32_at(8), 12, 13, 14)
    );
    assert_eq!(
        (ni.vlan_filter, ni.qos_entries, ni.flow_entries),
        (16, 18, u16_at(20))
    );
    assert_eq!((ni.qos_key, ni.flow_key, ni.wriop_version), (24, 25, u16_at(26)));
}

#[test]
fn an_object_and_a_connection_are_read_from_their_bytes() {
    let mut raw = [0; 64];
    raw[12..16].copy_from_slice(&[3, 0, 0, 0]);
    raw[16..18].copy_from_slice(&[0x57, 0x19]);
    raw[18..20].copy_from_slice(&[2, 1]);
    raw[20..24].copy_from_slice(&[3, 0, 0, 0x80]);
    raw[24..30].copy_from_slice(&[7, 0, 9, 0, 1, 0]);
    raw[32..36].copy_from_slice(b"dpni");
    raw[48..54].copy_from_slice(b"uplink");
    let object = dprc::Obj::get(&Frame::new(raw)).unwrap();
    assert_eq!((object.number, object.vendor), (3, VENDOR));
    assert_eq!((object.irq_count, object.region_count), (2, 1));
    assert_eq!(
        object.state,
        ObjectState::OPEN | ObjectState::PLUGGED,
        "unknown bits are dropped"
    );
    assert_eq!(
        (object.major, object.minor, object.flags),
        (7, 9, ObjectFlags::NOT_SHAREABLE)
    );
    assert_eq!(object.kind.object_type(), Some(ObjectType::Dpni));
    assert_eq!(object.label.as_str(), "uplink");

    let mut raw = [0; 64];
    raw[32] = 9;
    raw[36] = 4;
    raw[40..45].copy_from_slice(b"dpmac");
    raw[56..60].copy_from_slice(&(-1_i32).to_le_bytes());
    let link = dprc::Connection::get(&Frame::new(raw)).unwrap();
    assert_eq!((link.number, link.interface, link.state), (9, 4, -1));
    assert_eq!(link.kind.object_type(), Some(ObjectType::Dpmac));
}

#[test]
fn what_makes_no_sense_is_an_error_with_its_place() {
    let mut raw = [0; 64];
    raw[32..48].copy_from_slice(b"dpnidpnidpnidpni");
    assert_eq!(dprc::Obj::get(&Frame::new(raw)), Err(Malformed::NoEnd(32)));
    raw[32..48].copy_from_slice(b"dp\x1bi\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(dprc::Obj::get(&Frame::new(raw)), Err(Malformed::NotText(32)));
    raw[32..48].copy_from_slice(b"dpxx\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        dprc::Obj::get(&Frame::new(raw)).map(|object| object.kind.object_type()),
        Ok(None)
    );
    assert_eq!(
        dprc::GetObjRegion::get(&Frame::new(raw)),
        Err(Malformed::UnknownType(32))
    );
    let mut raw = [0; 64];
    raw[8] = 2;
    assert_eq!(irq::IrqEnable::get(&Frame::new(raw)), Err(Malformed::Value(8)));
    for length in [0, 1, 63, 65, 4096] {
        assert_eq!(
            Frame::from_bytes(&vec![0; length]),
            Err(Malformed::Length(length))
        );
    }
}

#[test]
fn versions_of_commands_follow_the_interface() {
    let regions = [
        ((6, 0), 1),
        ((6, 2), 1),
        ((6, 3), 2),
        ((6, 5), 2),
        ((6, 6), 3),
        ((7, 0), 3),
    ];
    for ((major, minor), version) in regions {
        assert_eq!(region_version(ApiVersion::new(major, minor)), version);
    }
    for ((major, minor), version) in [((6, 4), 1), ((6, 5), 2), ((7, 0), 2)] {
        assert_eq!(reset_version(ApiVersion::new(major, minor)), version);
    }
    assert_eq!(minimum(ObjectType::Dpni), Some(ApiVersion::new(7, 0)));
    assert_eq!(minimum(ObjectType::Dpsw), None);
    assert!(!dma_coherent(ObjectType::Dpseci, ApiVersion::new(3, 9)));
    assert!(dma_coherent(ObjectType::Dpseci, ApiVersion::new(4, 0)));
}

/// Reading anything and writing it again gives the same meaning; nothing panics.
fn round<L: Layout + PartialEq + core::fmt::Debug>(frame: &Frame) {
    if let Ok(first) = L::get(frame) {
        let mut again = Frame::EMPTY;
        first.put(&mut again);
        assert_eq!(L::get(&again), Ok(first));
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn every_layout_reads_back_what_it_wrote(
        raw in proptest::array::uniform32(any::<u16>()),
        kind in 0..ObjectType::ALL.len(),
        named in any::<bool>(),
    ) {
        let name = ObjectType::ALL[kind].name().as_bytes();
        let mut bytes: [u8; 64] = core::array::from_fn(|at| (raw[at / 2] >> (8 * (at % 2))) as u8);
        if named {
            for offset in [16, 32, 40, 48] {
                bytes[offset..][..name.len()].copy_from_slice(name);
                bytes[offset + name.len()] = 0;
            }
        }
        let frame = Frame::new(bytes);
        prop_assert_eq!(Header::from_bits(frame.qword(0)).into_bits(), frame.qword(0));
        round::<common::Open>(&frame);
        round::<common::Close>(&frame);
        round::<common::ApiVersionAnswer>(&frame);
        round::<common::IsEnabledAnswer>(&frame);
        round::<dpmng::Version>(&frame);
        round::<dpmng::ContainerId>(&frame);
        round::<irq::SetIrq>(&frame);
        round::<irq::SetIrqEnable>(&frame);
        round::<irq::SetIrqMask>(&frame);
        round::<irq::ClearIrqStatus>(&frame);
        round::<dprc::Attributes>(&frame);
        round::<dprc::ObjCount>(&frame);
        round::<dprc::GetObj>(&frame);
        round::<dprc::Obj>(&frame);
        round::<dprc::GetObjRegion>(&frame);
        round::<dprc::ObjRegion>(&frame);
        round::<dprc::SetObjIrq>(&frame);
        round::<dprc::ResetContainer>(&frame);
        round::<dprc::GetConnection>(&frame);
        round::<dprc::Connection>(&frame);
        round::<dpbp::Attributes>(&frame);
        round::<dpcon::Attributes>(&frame);
        round::<dpcon::SetNotification>(&frame);
        round::<dpio::Attributes>(&frame);
        round::<dpio::SetStashing>(&frame);
        round::<dpni::Attributes>(&frame);
    }
}
