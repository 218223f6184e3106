//! Links the bare-metal binary by `kernel.ld`, at a fixed address.

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let bare = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if bare {
        let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg=-T{dir}/kernel.ld");
        println!("cargo::rustc-link-arg=--no-pie");
    }
}
