//! The guest that lets its device attack all memory that is not its own. The program is `guests::rogue`.

#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!(rogue);
