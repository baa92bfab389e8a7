//! One binary for all targets: the environment variable `TARGET` selects the target.
//!
//! `TARGET=entry cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer any`
#![no_main]

use std::sync::LazyLock;

use bezant_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_else(|_| "entry".to_owned());
    bezant_fuzz::targets::target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
