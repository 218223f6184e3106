//! The guest with two CPUs. The program is `guests::several`.

#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!(several);
