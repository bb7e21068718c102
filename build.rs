//! Assembles `asm/<architecture>.S`, the stack switch, with the C compiler that the `cc` crate finds.

use std::env;
use std::process::exit;

/// Architectures with a file in `asm/` and a module in `src/arch/`.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Systems with a backend for the reactor in `src/reactor/sys/`, and ways for stacks in `src/stack/`.
const SYSTEMS: [&str; 4] = ["linux", "android", "macos", "freebsd"];

fn main() {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let family = env::var("CARGO_CFG_TARGET_FAMILY").unwrap_or_default();
    let width = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let known = ARCHITECTURES.contains(&arch.as_str()) && SYSTEMS.contains(&system.as_str());
    if !known || family != "unix" || width != "64" {
        fail(&format!(
            "corde does not support this target: it runs on x86_64 and aarch64 Linux, macOS and FreeBSD, not on {}",
            env::var("TARGET").unwrap_or_default()
        ));
    }

    // Two versions of corde may meet in one program: the symbols carry the version.
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let prefix = format!("corde_{}_", version.replace(['.', '-', '+'], "_"));
    println!("cargo::rustc-env=CORDE_SYMBOL_PREFIX={prefix}");

    let source = format!("asm/{arch}.S");
    println!("cargo::rerun-if-changed={source}");
    let mut assembler = cc::Build::new();
    println!("cargo::rustc-check-cfg=cfg(corde_tls_descriptors)");
    if has_tls_descriptors(&system) {
        assembler.define("CORDE_GUESS", None);
        println!("cargo::rustc-cfg=corde_tls_descriptors");
    }
    let assembled = assembler
        .file(&source)
        .define("CORDE_PREFIX", prefix.as_str())
        // The library is named where its functions are declared.
        .cargo_metadata(false)
        .try_compile("corde_switch");
    let output = env::var("OUT_DIR").unwrap_or_default();
    println!("cargo::rustc-link-search=native={output}");
    if let Err(error) = assembled {
        fail(&format!(
            "corde could not assemble {source}: it needs a C compiler \
             (Debian: `apt-get install gcc`, Fedora: `dnf install gcc`, macOS: `xcode-select --install`, \
             or name one in the variable CC). The compiler said: {error}"
        ));
    }
}

/// Whether the assembler, the linker and the loader know TLS descriptors: the one way to a thread-local that assembly can take in
/// executables and libraries alike.
fn has_tls_descriptors(system: &str) -> bool {
    let environment = env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    system == "linux" && environment == "gnu"
}

/// Ends the build with one sentence and no panic message around it.
fn fail(sentence: &str) -> ! {
    println!("cargo::error={}", sentence.replace('\n', " "));
    exit(1);
}
