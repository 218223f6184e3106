//! The hypervisor's own page tables: everything one to one, each thing with no more rights than it needs.
//!
//! Text is read-only and executable, everything else is not executable, page 0 and the guard pages are not
//! mapped. RAM is cacheable; what is not RAM is device memory and uncacheable.
#![expect(unsafe_code, reason = "builds and loads page tables")]

use super::regions::{Kind, Region};
use crate::addr::HostPhys;
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::vec::Vec;
use spin::Mutex;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{MapToError, TranslateResult, UnmapError};
use x86_64::structures::paging::page::PageSize;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags as Flags, PhysFrame, Size2MiB,
    Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

unsafe extern "C" {
    static __image_start: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
    static __image_end: u8;
    static __boot_stack_guard: u8;
}

/// One past the highest address that is ever mapped.
pub const LIMIT: u64 = 1 << 46;

const SMALL: u64 = 4 << 10;
const LARGE: u64 = 2 << 20;
const HUGE: u64 = 1 << 30;
const ENTRIES: u64 = 512;
const TABLE: Flags = Flags::PRESENT.union(Flags::WRITABLE);
const DATA: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::NO_EXECUTE);
const DEVICE: Flags = DATA.union(Flags::NO_CACHE).union(Flags::WRITE_THROUGH);
const TEXT: Flags = Flags::PRESENT;
const RODATA: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE);

static TABLES: Mutex<Option<OffsetPageTable<'static>>> = Mutex::new(None);

/// Why a mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// The heap has no room for another table.
    #[error("no memory left for page tables")]
    Memory,
    /// Part of the range is mapped in another way.
    #[error("the range is mapped already, with other rights")]
    Mapped,
    /// Beyond what the tables can map, or not in order.
    #[error("the address range is not one that page tables can map")]
    Range,
}

/// Frames for tables: pages of the heap, whose physical address is their address.
struct HeapFrames;

// SAFETY: the heap gives page-aligned, zeroed, unused memory, which is never freed while a table uses it.
unsafe impl FrameAllocator<Size4KiB> for HeapFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let layout = Layout::from_size_align(SMALL as usize, SMALL as usize).ok()?;
        // SAFETY: the layout has a size.
        let page = unsafe { alloc_zeroed(layout) };
        (!page.is_null()).then(|| PhysFrame::containing_address(PhysAddr::new(page as u64)))
    }
}

/// The image's own range.
#[must_use]
pub fn image() -> Region {
    Region {
        start: &raw const __image_start as u64,
        end: &raw const __image_end as u64,
        kind: Kind::Reserved,
    }
}

/// Builds the tables for `memory` and loads them: a gigabyte in one page where nothing in it differs and the
/// processor has such pages, else pieces of 2 MiB, and single pages around the image and at the bottom.
///
/// # Errors
/// [`PagingError`]; the boot tables stay loaded.
pub fn init(memory: &[Region]) -> Result<(), PagingError> {
    let usable: Vec<(u64, u64)> = memory
        .iter()
        .filter(|region| region.kind == Kind::Usable)
        .map(|region| (region.start, region.end))
        .collect();
    let ram_top = usable.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let top = ram_top.max(4 << 30).next_multiple_of(LARGE).min(LIMIT);
    let image = image();
    let features = raw_cpuid::CpuId::new().get_extended_processor_and_feature_identifiers();
    let huge_pages = features.is_some_and(|features| features.has_1gib_pages());
    let split = |start: u64, end: u64| start == 0 || (start < image.end && image.start < end);

    let root = table()?;
    let mut third = root;
    for start in (0..top).step_by(HUGE as usize) {
        let end = top.min(start + HUGE);
        if index(start, HUGE) == 0 {
            third = table()?;
            fill(root, HUGE * ENTRIES, start, start + 1, third, TABLE);
        }
        let whole = usable
            .iter()
            .any(|(from, to)| *from <= start && start + HUGE <= *to);
        let none = !usable.iter().any(|(from, to)| *from < end && start < *to);
        if huge_pages && (whole || none) && !split(start, end) {
            let flags = if whole { DATA } else { DEVICE };
            fill(third, HUGE, start, end, start, flags | Flags::HUGE_PAGE);
            continue;
        }
        let second = table()?;
        fill(third, HUGE, start, end, second, TABLE);
        if !whole {
            fill(second, LARGE, start, end, start, DEVICE | Flags::HUGE_PAGE);
        }
        for &(from, to) in &usable {
            let (from, to) = (from.max(start) & !(LARGE - 1), to.min(end));
            fill(second, LARGE, from, to, from, DATA | Flags::HUGE_PAGE);
        }
        let around = image.start.max(start) & !(LARGE - 1)..image.end.min(end);
        let bottom = (start == 0)
            .then_some(0)
            .filter(|bottom| !around.contains(bottom));
        for piece in bottom.into_iter().chain(around.step_by(LARGE as usize)) {
            let first = table()?;
            fill(second, LARGE, piece, piece + LARGE, first, TABLE);
            fill_small(first, piece);
        }
    }
    // SAFETY: the frame is owned by nobody else and mapped one to one, by the boot tables and by itself.
    let tables = unsafe { OffsetPageTable::new(&mut *(root as *mut PageTable), VirtAddr::zero()) };
    // SAFETY: the tables map the running text, the data and the stack as they are used.
    unsafe {
        Cr3::write(
            PhysFrame::containing_address(PhysAddr::new(root)),
            Cr3Flags::empty(),
        );
    };
    *TABLES.lock() = Some(tables);
    Ok(())
}

/// A fresh table's address.
fn table() -> Result<u64, PagingError> {
    let frame = HeapFrames.allocate_frame().ok_or(PagingError::Memory)?;
    Ok(frame.start_address().as_u64())
}

/// Which entry of its table leads to `at`, where each stands for `span` bytes.
const fn index(at: u64, span: u64) -> u64 {
    at / span % ENTRIES
}

/// Points the entries for `start` to `end` of `table`, each of which stands for `span` bytes, to `to` and on.
fn fill(table: u64, span: u64, start: u64, end: u64, to: u64, flags: Flags) {
    if start >= end {
        return;
    }
    let (first, last) = (index(start, span), index(end - 1, span));
    let mut entry = to | flags.bits();
    // SAFETY: a table that `table` gave, mapped one to one, and indexes below 512; no other reference to it exists.
    let entries = unsafe {
        core::slice::from_raw_parts_mut(
            (table as *mut u64).add(first as usize),
            (last - first + 1) as usize,
        )
    };
    for place in entries {
        *place = entry;
        // Nothing is mapped where this could wrap: what is behind the last entry is not used.
        entry = entry.wrapping_add(span);
    }
}

/// Fills the table for the 2 MiB at `piece`, in which page 0 or part of the image is.
fn fill_small(table: u64, piece: u64) {
    let end = piece + LARGE;
    fill(table, SMALL, piece, end, piece, DATA);
    let parts = [
        (&raw const __text_start as u64, &raw const __text_end as u64, TEXT),
        (
            &raw const __rodata_start as u64,
            &raw const __rodata_end as u64,
            RODATA,
        ),
    ];
    for (from, to, flags) in parts {
        let (from, to) = (from.max(piece), to.min(end));
        fill(table, SMALL, from, to, from, flags);
    }
    for gone in [0, &raw const __boot_stack_guard as u64] {
        if (piece..end).contains(&gone) {
            fill(table, SMALL, gone, gone + 1, 0, Flags::empty());
        }
    }
}

/// Physical address of the root table.
#[must_use]
pub fn root() -> u64 {
    Cr3::read().0.start_address().as_u64()
}

/// Makes device memory at `base` reachable, uncached; below the top of RAM it is already.
///
/// # Errors
/// [`PagingError::Range`] past what tables map, [`PagingError::Memory`].
pub fn map_device(base: HostPhys, bytes: u64) -> Result<(), PagingError> {
    let end = base
        .0
        .checked_add(bytes)
        .filter(|end| *end <= LIMIT)
        .ok_or(PagingError::Range)?;
    let mut guard = TABLES.lock();
    let tables = guard.as_mut().ok_or(PagingError::Memory)?;
    // Where a large page is split, what is inside it is mapped already.
    let mut at = base.0;
    while at < end {
        if !matches!(
            tables.translate(VirtAddr::new(at)),
            TranslateResult::Mapped { .. }
        ) {
            map::<Size2MiB>(tables, at & !(LARGE - 1), DEVICE)?;
        }
        at = (at & !(LARGE - 1)) + LARGE;
    }
    Ok(())
}

/// Takes one page out, for a guard page or once it has served.
///
/// # Errors
/// [`PagingError::Mapped`] where the page lies in a large one.
pub fn unmap_page(at: u64) -> Result<(), PagingError> {
    unmap(TABLES.lock().as_mut().ok_or(PagingError::Memory)?, at)
}

/// Lets one page be executed, or no longer: for the code that starts other CPUs.
///
/// # Errors
/// [`PagingError::Mapped`] where the page lies in a large one.
pub fn set_executable(at: u64, executable: bool) -> Result<(), PagingError> {
    let flags = if executable {
        Flags::PRESENT | Flags::WRITABLE
    } else {
        DATA
    };
    protect(TABLES.lock().as_mut().ok_or(PagingError::Memory)?, at, flags)
}

/// The rights with which `at` is mapped, if it is: tells a stack overflow, and is what tests of the protections ask.
#[must_use]
pub fn rights(at: u64) -> Option<Flags> {
    match TABLES.lock().as_ref()?.translate(VirtAddr::new(at)) {
        TranslateResult::Mapped { flags, .. } => Some(flags),
        _ => None,
    }
}

fn map<S: PageSize + core::fmt::Debug>(
    tables: &mut OffsetPageTable<'_>,
    at: u64,
    flags: Flags,
) -> Result<(), PagingError>
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    let page = Page::<S>::from_start_address(VirtAddr::try_new(at).map_err(|_| PagingError::Range)?);
    let frame = PhysFrame::<S>::from_start_address(PhysAddr::try_new(at).map_err(|_| PagingError::Range)?);
    let (Ok(page), Ok(frame)) = (page, frame) else {
        return Err(PagingError::Range);
    };
    // SAFETY: one to one, and only memory that the image owns or that no Rust object lives in.
    match unsafe { tables.map_to(page, frame, flags, &mut HeapFrames) } {
        Ok(flush) => {
            flush.flush();
            Ok(())
        }
        Err(MapToError::FrameAllocationFailed) => Err(PagingError::Memory),
        Err(MapToError::ParentEntryHugePage | MapToError::PageAlreadyMapped(_)) => Err(PagingError::Mapped),
    }
}

fn protect(tables: &mut OffsetPageTable<'_>, at: u64, flags: Flags) -> Result<(), PagingError> {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(at));
    // SAFETY: callers take rights that the page's contents do not need.
    unsafe { tables.update_flags(page, flags) }
        .map_err(|_| PagingError::Mapped)?
        .flush();
    Ok(())
}

fn unmap(tables: &mut OffsetPageTable<'_>, at: u64) -> Result<(), PagingError> {
    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(at));
    match tables.unmap(page) {
        Ok((_, flush)) => {
            flush.flush();
            Ok(())
        }
        Err(UnmapError::PageNotMapped) => Ok(()),
        Err(_) => Err(PagingError::Mapped),
    }
}
