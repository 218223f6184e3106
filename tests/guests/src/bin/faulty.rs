//! The guest that does one forbidden thing, by `mode=` on its command line. The program is `guests::faulty`.

#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!(faulty);
