//! NVMe registers and commands as data (NVM Express Base 2.0, section 3.1; NVM Command Set 1.0).

use bitfield_struct::bitfield;

/// Class code of an NVMe controller: mass storage, non-volatile memory, NVMe interface.
pub const CLASS: u32 = 0x01_08_02;

pub(super) const CAP: usize = 0x00;
pub(super) const VS: usize = 0x08;
pub(super) const CC: usize = 0x14;
pub(super) const CSTS: usize = 0x1c;
pub(super) const AQA: usize = 0x24;
pub(super) const ASQ: usize = 0x28;
pub(super) const ACQ: usize = 0x30;
pub(super) const DOORBELLS: usize = 0x1000;

pub(super) const DELETE_SQ: u8 = 0x00;
pub(super) const CREATE_SQ: u8 = 0x01;
pub(super) const DELETE_CQ: u8 = 0x04;
pub(super) const CREATE_CQ: u8 = 0x05;
pub(super) const IDENTIFY: u8 = 0x06;
pub(super) const SET_FEATURES: u8 = 0x09;

pub(super) const FLUSH: u8 = 0x00;
pub(super) const WRITE: u8 = 0x01;
pub(super) const READ: u8 = 0x02;

/// Feature identifier: number of queues.
pub(super) const FEATURE_QUEUES: u32 = 0x07;
/// Identify: a namespace, the controller.
pub(super) const CNS_NAMESPACE: u32 = 0;
pub(super) const CNS_CONTROLLER: u32 = 1;

/// Controller capabilities, CAP.
#[bitfield(u64)]
pub(super) struct Cap {
    /// Most entries of a queue, less one.
    #[bits(16)]
    pub mqes: u16,
    #[bits(8)]
    __: u8,
    /// Worst time to become ready, in 500 ms.
    #[bits(8)]
    pub to: u8,
    /// Distance of doorbells: 4 << dstrd bytes.
    #[bits(4)]
    pub dstrd: u8,
    #[bits(12)]
    __: u16,
    /// Smallest page: 4096 << mpsmin bytes.
    #[bits(4)]
    pub mpsmin: u8,
    #[bits(12)]
    __: u16,
}

/// Controller configuration, CC.
#[bitfield(u32)]
pub(super) struct Cc {
    pub en: bool,
    #[bits(3)]
    __: u8,
    /// Command set: 0 is NVM.
    #[bits(3)]
    pub css: u8,
    /// Page: 4096 << mps bytes.
    #[bits(4)]
    pub mps: u8,
    #[bits(3)]
    pub ams: u8,
    /// Shutdown: 1 is normal.
    #[bits(2)]
    pub shn: u8,
    /// Log2 of the size of a submission entry.
    #[bits(4)]
    pub iosqes: u8,
    /// Log2 of the size of a completion entry.
    #[bits(4)]
    pub iocqes: u8,
    #[bits(8)]
    __: u8,
}

/// Controller status, CSTS.
#[bitfield(u32)]
pub(super) struct Csts {
    pub rdy: bool,
    /// Fatal status.
    pub cfs: bool,
    /// Shutdown: 2 is complete.
    #[bits(2)]
    pub shst: u8,
    #[bits(28)]
    __: u32,
}

/// A command, as far as this driver fills it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Command {
    pub opcode: u8,
    pub namespace: u32,
    pub prp1: u64,
    pub prp2: u64,
    /// Command dwords 10 to 12.
    pub dwords: [u32; 3],
}

impl Command {
    /// The submission entry with command identifier `id`.
    pub(super) fn encode(&self, id: u16) -> [u8; 64] {
        let mut entry = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[self.opcode]);
        put(2, &id.to_le_bytes());
        put(4, &self.namespace.to_le_bytes());
        put(24, &self.prp1.to_le_bytes());
        put(32, &self.prp2.to_le_bytes());
        for (at, dword) in (40..).step_by(4).zip(self.dwords) {
            put(at, &dword.to_le_bytes());
        }
        entry
    }
}

/// The last dword of a completion entry.
#[bitfield(u32)]
pub(super) struct Completion {
    #[bits(16)]
    pub command: u16,
    pub phase: bool,
    /// Status code and its type; 0 is success.
    #[bits(11)]
    pub status: u16,
    #[bits(4)]
    __: u8,
}
