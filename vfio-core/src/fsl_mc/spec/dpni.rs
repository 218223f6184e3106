//! Commands of network interfaces.

use super::frame::layout;
use super::{command, id};

layout! {
    /// Asks for an interface's attributes.
    GetAttributes {}
}

layout! {
    /// An interface's attributes.
    Attributes {
        /// What it was made with.
        8 options: u32,
        /// Queues.
        12 queues: u8,
        /// Traffic classes.
        13 traffic_classes: u8,
        /// Entries of the MAC filter.
        14 mac_filter: u8,
        /// Entries of the VLAN filter.
        16 vlan_filter: u8,
        /// Entries of the QoS table.
        18 qos_entries: u8,
        /// Entries of the flow table.
        20 flow_entries: u16,
        /// Bytes of a QoS key.
        24 qos_key: u8,
        /// Bytes of a flow key.
        25 flow_key: u8,
        /// Version of the network hardware.
        26 wriop_version: u16,
    }
}
command!(GetAttributes => Attributes, id::GET_ATTRIBUTES, reads: true);
