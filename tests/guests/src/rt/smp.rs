//! The second CPU: how it is started, and what it does: as it is ordered, and answering interrupts.
#![expect(unsafe_code, reason = "machine entry of a second CPU")]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use x86_64::registers::control::Cr3;

use super::mmio::Mmio;
use super::{apic, interrupts, time};

/// Where the trampoline runs: a page of conventional memory.
const PAGE: usize = 0x9000;
/// Bytes of the stack.
const STACK: usize = 32 * 1024;
/// How long the CPU may take to come up or to answer, in milliseconds, which may pass a few times faster: on a busy host whose QEMU runs
/// all CPUs in turn, each turn is a tenth of a second and the host may take its time between them.
const START_MS: u32 = 30_000;

/// Commands (Intel SDM volume 3, figure 12-12).
pub const INIT: u32 = 0x4500;
/// With the page number in bits 7:0.
pub const START_UP: u32 = 0x4600;
/// Non-maskable interrupt.
pub const NMI: u32 = 0x4400;
/// Destination is a logical id.
pub const LOGICAL: u32 = 0x800;
/// All but the sender.
pub const OTHERS: u32 = 0xc_0000;

/// The second CPU answers each of these with [`PONG`] to the first.
pub const PING: u8 = 0x60;
/// The answer.
pub const PONG: u8 = 0x61;
/// Sent to the first CPU for each interrupt on the vector of [`forward`].
pub const WAKE: u8 = 0x62;

/// What the second CPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// Wait for interrupts.
    Wait,
    /// Read the register of [`hammer`] again and again.
    Hammer,
    /// Send itself an INIT.
    InitItself,
    /// Loop with interrupts off for ever.
    Spin,
}

static ORDER: AtomicU32 = AtomicU32::new(0);
static STARTS: AtomicU64 = AtomicU64::new(0);
static ID: AtomicU32 = AtomicU32::new(u32::MAX);
static FORWARDED: AtomicU32 = AtomicU32::new(0);
static REGISTER: AtomicUsize = AtomicUsize::new(0);
static HAMMERED: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: only the stack pointer of the second CPU refers to it.
unsafe impl Sync for Stack {}

static SECOND_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .balign 16
    .global second_start
    .global second_end
    .global second_cr3
    .global second_stack
    .global second_entry
    .code16
second_start:
    cli
    cld
    wbinvd
    movw %cs, %ax
    movw %ax, %ds
    lgdtl second_gdt_pointer - second_start
    xorl %eax, %eax
    cpuid                       # leaves to a hypervisor, in real mode
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $(second_32 - second_start + {page})
    .code32
second_32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x20, %eax            # CR4.PAE
    movl %eax, %cr4
    movl second_cr3 - second_start + {page}, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER: LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax       # PG, WP, PE
    movl %eax, %cr0
    ljmpl $0x8, $(second_64 - second_start + {page})
    .code64
second_64:
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movq second_stack - second_start + {page}, %rsp
    xorl %ebp, %ebp
    movq second_entry - second_start + {page}, %rax
    call *%rax
    ud2
    .balign 8
second_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 0x08: 64-bit code
    .quad 0x00cf93000000ffff    # 0x10: data
    .quad 0x00cf9b000000ffff    # 0x18: 32-bit code
second_gdt_pointer:
    .word . - second_gdt - 1
    .long second_gdt - second_start + {page}
    .balign 8
second_cr3:   .quad 0
second_stack: .quad 0
second_entry: .quad 0
second_end:
"#,
    page = const PAGE,
    options(att_syntax)
);

unsafe extern "C" {
    static second_start: u8;
    static second_end: u8;
    static second_cr3: u8;
    static second_stack: u8;
    static second_entry: u8;
}

/// The second CPU did not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum SecondError {
    /// It did not start.
    #[error("the CPU with APIC id {0} does not start")]
    NotStarted(u8),
    /// It did not answer.
    #[error("the second CPU does not answer")]
    Silent,
}

/// Sends INIT and STARTUP to the CPU with the id `apic`, and waits until it is up.
///
/// # Errors
/// It is not, in time.
pub fn start(apic: u8) -> Result<(), SecondError> {
    install();
    order(Order::Wait);
    let before = STARTS.load(Ordering::Acquire);
    apic::send(apic, INIT);
    // Two, as the manual wants it; the second finds it running.
    for _ in 0..2 {
        apic::send(apic, START_UP | (PAGE >> 12) as u32);
    }
    let up = || (STARTS.load(Ordering::Acquire) != before).then_some(());
    time::poll(START_MS, up).ok_or(SecondError::NotStarted(apic))
}

/// Puts the trampoline where it runs.
fn install() {
    let len = (&raw const second_end).addr() - (&raw const second_start).addr();
    let top = SECOND_STACK.0.get().addr() + STACK - 8;
    let cells = [
        (&raw const second_cr3, Cr3::read().0.start_address().as_u64()),
        (&raw const second_stack, top as u64),
        (&raw const second_entry, second as *const () as u64),
    ];
    let page: *mut u8 = core::ptr::with_exposed_provenance_mut(PAGE);
    // SAFETY: source is the trampoline in this image, target a page of RAM that nothing else uses.
    unsafe { core::ptr::copy_nonoverlapping(&raw const second_start, page, len) };
    for (cell, value) in cells {
        let at = cell.addr() - (&raw const second_start).addr();
        // SAFETY: a cell of the copy, aligned.
        unsafe { page.add(at).cast::<u64>().write_volatile(value) };
    }
}

/// What the second CPU does from now on, once it looks: an interrupt makes it look.
pub fn order(order: Order) {
    ORDER.store(order as u32, Ordering::Release);
}

/// How often it has started.
#[must_use]
pub fn starts() -> u64 {
    STARTS.load(Ordering::Acquire)
}

/// Its APIC id, as it read it.
#[must_use]
pub fn id() -> u32 {
    ID.load(Ordering::Acquire)
}

/// Has it send [`WAKE`] to the first CPU for each interrupt on `vector`.
pub fn forward(vector: u8) {
    FORWARDED.store(vector.into(), Ordering::Release);
}

/// Has it read the register at `address` until another order comes.
pub fn hammer(address: usize) {
    REGISTER.store(address, Ordering::Release);
    order(Order::Hammer);
}

/// How often it has read that.
#[must_use]
pub fn hammered() -> u64 {
    HAMMERED.load(Ordering::Relaxed)
}

/// Sends `command` with the vector [`PING`] to `to`, and waits for the answer.
///
/// # Errors
/// None comes.
pub fn ping(to: u8, command: u32) -> Result<(), SecondError> {
    let before = interrupts::count(PONG);
    apic::send(to, command | u32::from(PING));
    let answered = || {
        interrupts::window();
        (interrupts::count(PONG) != before).then_some(())
    };
    time::poll(START_MS, answered).ok_or(SecondError::Silent)
}

/// Whether `address` is on the second CPU's stack.
pub(super) fn is_on_second_stack(address: usize) -> bool {
    let start = SECOND_STACK.0.get().addr();
    (start..start + STACK).contains(&address)
}

/// The first Rust on the second CPU.
extern "C" fn second() -> ! {
    interrupts::load();
    apic::init_this();
    ID.store(apic::id().into(), Ordering::Release);
    let (mut pings, mut forwards) = (interrupts::count_on_second(PING), 0);
    STARTS.fetch_add(1, Ordering::AcqRel);
    loop {
        match ORDER.load(Ordering::Acquire) {
            order if order == Order::Hammer as u32 => {
                // SAFETY: the address of a device register that this guest drives.
                let register = unsafe { Mmio::new(REGISTER.load(Ordering::Acquire), 4) };
                let _ = register.read32(0);
                HAMMERED.fetch_add(1, Ordering::Relaxed);
                interrupts::window();
            }
            order if order == Order::InitItself as u32 => {
                ORDER.store(Order::Wait as u32, Ordering::Release);
                apic::send(apic::id(), INIT);
            }
            order if order == Order::Spin as u32 => core::hint::spin_loop(),
            _ => interrupts::wait(),
        }
        let now = interrupts::count_on_second(PING);
        if now != pings {
            pings = now;
            apic::send(0, PONG.into());
        }
        let vector = FORWARDED.load(Ordering::Acquire) as u8;
        let now = interrupts::count_on_second(vector);
        if now != forwards {
            forwards = now;
            apic::send(0, WAKE.into());
        }
    }
}
