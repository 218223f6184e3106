//! Commands of containers.

use bitflags::bitflags;

use super::frame::{Nothing, flags_field, layout};
use super::{Text, command, id};
use crate::fsl_mc::ObjectType;

bitflags! {
    /// State of an object.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ObjectState: u32 {
        /// Somebody has it open.
        const OPEN = 1;
        /// It is shown to drivers.
        const PLUGGED = 2;
    }
}
flags_field!(ObjectState, u32);

bitflags! {
    /// Properties of an object.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ObjectFlags: u16 {
        /// Its DMA is not coherent with the caches.
        const NOT_SHAREABLE = 1;
    }
}
flags_field!(ObjectFlags, u16);

bitflags! {
    /// How memory of a region may be mapped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct RegionAttributes: u32 {
        /// It may be cached.
        const CACHEABLE = 1;
        /// Its caches are coherent.
        const SHAREABLE = 2;
    }
}
flags_field!(RegionAttributes, u32);

bitflags! {
    /// Events of a container, on its interrupt 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Events: u32 {
        /// An object came.
        const OBJECT_ADDED = 1;
        /// An object went.
        const OBJECT_REMOVED = 2;
        /// A resource came. [not verified]
        const RESOURCE_ADDED = 4;
        /// A resource went. [not verified]
        const RESOURCE_REMOVED = 8;
        /// The container is no more.
        const CONTAINER_DESTROYED = 0x10;
        /// An object is no more.
        const OBJECT_DESTROYED = 0x20;
        /// An object was made.
        const OBJECT_CREATED = 0x40;
    }
}

bitflags! {
    /// Options of a container's reset, from its second version on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ResetOptions: u32 {
        /// The containers inside are left alone.
        const NON_RECURSIVE = 1;
    }
}
flags_field!(ResetOptions, u32);

layout! {
    /// Asks for a container's attributes.
    GetAttributes {}
}

layout! {
    /// A container's attributes.
    Attributes {
        /// Its number.
        8 container: u32,
        /// Its isolation context: who the IOMMU takes everything inside for.
        12 icid: u16,
        /// What its software may do.
        16 options: u32,
        /// The number of its command portal.
        20 portal: u32,
    }
}
command!(GetAttributes => Attributes, id::GET_ATTRIBUTES, reads: true);

layout! {
    /// Asks how many objects a container has.
    GetObjCount {}
}

layout! {
    /// How many objects a container has.
    ObjCount {
        /// How many.
        12 count: u32,
    }
}
command!(GetObjCount => ObjCount, id::GET_OBJ_COUNT, reads: true);

layout! {
    /// Asks for one object of a container.
    GetObj {
        /// Below the count.
        8 index: u32,
    }
}

layout! {
    /// One object of a container.
    Obj {
        /// Its number among those of its type.
        12 number: u32,
        /// Its vendor.
        16 vendor: u16,
        /// How many interrupts it has.
        18 irq_count: u8,
        /// How many regions it has.
        19 region_count: u8,
        /// Its state.
        20 state: ObjectState,
        /// Major version of its interface.
        24 major: u16,
        /// Minor version of its interface.
        26 minor: u16,
        /// Its properties.
        28 flags: ObjectFlags,
        /// Its type, which may be one that is not known.
        32 kind: Text,
        /// A name that somebody gave it.
        48 label: Text,
    }
}
command!(GetObj => Obj, id::GET_OBJ, reads: true);

layout! {
    /// Asks for a region of an object.
    GetObjRegion {
        /// The object's number.
        8 number: u32,
        /// Below the object's count of regions.
        14 index: u8,
        /// The object's type.
        32 kind: ObjectType,
    }
}

layout! {
    /// A region of an object.
    ObjRegion {
        /// From the base.
        16 offset: u64,
        /// Bytes.
        24 size: u32,
        /// What kind of region, from newer firmware. [not verified]
        28 kind: u8,
        /// How it may be mapped.
        32 attributes: RegionAttributes,
        /// The base; from version 2 on, without meaning before.
        40 base: u64,
    }
}
command!(GetObjRegion => ObjRegion, id::GET_OBJ_REGION, reads: true);

layout! {
    /// Sets where an interrupt of an object inside goes.
    SetObjIrq {
        /// What is written.
        8 value: u32,
        /// Which of the object's interrupts.
        12 index: u8,
        /// Where it is written.
        16 address: u64,
        /// The sender's own number for it.
        24 irq_number: u32,
        /// The object's number.
        28 number: u32,
        /// The object's type.
        32 kind: ObjectType,
    }
}
command!(SetObjIrq => Nothing, id::SET_OBJ_IRQ, reads: false);

layout! {
    /// Resets a container: all tokens of its software are void, all objects in it are reset.
    ResetContainer {
        /// The container's number: the one that is open, or one inside it.
        8 container: u32,
        /// Without meaning in version 1, which goes into the containers inside.
        12 options: ResetOptions,
    }
}
command!(ResetContainer => Nothing, id::RESET, reads: false);

layout! {
    /// Asks what an endpoint is connected to.
    GetConnection {
        /// The object's number.
        8 number: u32,
        /// Its interface.
        12 interface: u16,
        /// Its type.
        16 kind: ObjectType,
    }
}

layout! {
    /// What an endpoint is connected to.
    Connection {
        /// The other object's number.
        32 number: u32,
        /// Its interface.
        36 interface: u16,
        /// Its type; empty if there is none.
        40 kind: Text,
        /// 1 if the link is up, 0 if it is down, -1 if there is none.
        56 state: i32,
    }
}
command!(GetConnection => Connection, id::GET_CONNECTION, reads: true);
