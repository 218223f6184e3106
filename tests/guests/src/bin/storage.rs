//! The guest that drives an NVMe controller, and verifies every sector and its own memory. The program is `guests::storage`.

#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!(storage);
