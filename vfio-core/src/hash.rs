//! Hash maps with a fixed seed: the same machine gives the same order in every run, and no random source is
//! needed. Keys are addresses that discovery found, not text that a guest chose.

pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;
