//! AMD-Vi: the IOMMU of AMD's machines (AMD I/O Virtualization Technology (IOMMU) Specification 48882, revision 3.07; the sections
//! cited are its). Entries of its page tables are in [`amdvi_table`](crate::amdvi_table), the firmware's table in
//! [`ivrs`](crate::ivrs).

pub mod capability;
pub mod command;
pub mod device_table;
pub mod event;
pub mod interrupt;
pub mod registers;
