//! What two threads do to each other: opening and closing devices of different sets, and of one set.
//!
//! Times, and so not repeatable by themselves: the ratio is of times taken side by side in one run, and each is the
//! best of many, since whatever disturbs a measurement only makes it longer. Where the kernel tells, time counts that a thread
//! was on a processor, which other programs do not add to.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use vfio_core::Owner;
use vfio_core::set::{CloseError, OpenError, Registration, SetTable};

use crate::fakes::{Nothing, device};

/// Opens and closes in one measurement.
const ROUNDS: u32 = 400_000;
/// Measurements of each kind.
const TRIES: u32 = 7;

const OWNER: Owner = Owner::Guest(1);

/// Opens and closes `member` so often; others may be in the way.
fn work(member: &Registration) {
    for _ in 0..ROUNDS {
        let mut token = loop {
            match black_box(member).open(OWNER, &Nothing) {
                Ok(token) => break token,
                Err(OpenError::Busy(_)) => std::hint::spin_loop(),
                Err(other) => panic!("{other}"),
            }
        };
        loop {
            match token.close(&Nothing) {
                Ok(()) => break,
                Err(CloseError::Busy(_, again)) => token = again,
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// How long this thread was on a processor so far; else the time that has passed.
fn spent(start: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// How long the threads take, one for each member, all started at once: the longest.
fn time(members: &[&Registration]) -> Duration {
    let barrier = Barrier::new(members.len());
    thread::scope(|scope| {
        let threads: Vec<_> = members
            .iter()
            .map(|member| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let before = spent(start);
                    work(member);
                    spent(start).saturating_sub(before)
                })
            })
            .collect();
        let times = threads.into_iter().filter_map(|thread| thread.join().ok());
        times.max().unwrap_or_default()
    })
}

pub(crate) fn print() {
    let table = SetTable::new();
    let member = |number| {
        let (device, set) = device(number);
        let registered = table.register(device, Some(set));
        registered.unwrap_or_else(|error| panic!("{error}"))
    };
    // Two of one slot, and one of the next slot, whose set is the neighbour in memory.
    let (first, sibling, stranger) = (member(0), member(1), member(8));
    let best = |members: &[&Registration], best: Duration| best.min(time(members));
    let (mut alone, mut apart, mut together) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        alone = best(&[&first], alone);
        apart = best(&[&first, &stranger], apart);
        together = best(&[&first, &sibling], together);
    }
    let each = |time: Duration| time.as_nanos() / u128::from(ROUNDS);
    let ratio = |time: Duration| time.as_secs_f64() / alone.as_secs_f64();
    println!("\ncontention: nanoseconds for an open and a close, the best of {TRIES} times {ROUNDS}\n");
    println!("| | each thread | to one thread alone |\n|---|---|---|");
    println!("| one thread | {} | |", each(alone));
    println!(
        "| two threads, different sets | {} | {:.2} |",
        each(apart),
        ratio(apart)
    );
    println!(
        "| two threads, one set | {} | {:.2} |",
        each(together),
        ratio(together)
    );
}
