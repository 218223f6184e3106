//! Ways to die: each must print where, and end the machine with the status of a panic.

use kernel::memory::paging;

pub(crate) fn die(how: &str) -> ! {
    match how {
        "panic" => panic!("asked to"),
        "overflow" => {
            core::hint::black_box(deeper(1));
        }
        "write-text" => {
            let text = die as *const () as *mut u8;
            // SAFETY: none: this must fault.
            unsafe { text.write_volatile(0xc3) };
        }
        "execute-data" => {
            static mut CODE: u8 = 0xc3;
            // SAFETY: none: this must fault.
            let code: extern "C" fn() = unsafe { core::mem::transmute(&raw const CODE) };
            code();
        }
        "null" => {
            assert!(paging::rights(0).is_none());
            // SAFETY: none: this must fault.
            unsafe { core::ptr::without_provenance::<u8>(8).read_volatile() };
        }
        other => panic!("no such death: {other}"),
    }
    kernel::console::exit(cohort_abi::exit::Outcome::Success)
}

#[expect(unconditional_recursion, reason = "runs into the guard page")]
fn deeper(depth: u64) -> u64 {
    let page = core::hint::black_box([depth; 64]);
    deeper(depth + 1) + page[(depth % 64) as usize]
}
