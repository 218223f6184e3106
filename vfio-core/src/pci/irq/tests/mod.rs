//! State machines of interrupts against models that keep nothing but what was last written.

#![cfg(not(loom))]

mod owner;
mod vectors;
