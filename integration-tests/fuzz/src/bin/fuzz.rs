//! libFuzzer on one target: `LANIAKEA_FUZZ=smtp fuzz CORPUS -max_total_time=600`.
#![no_main]

use std::{env, sync::LazyLock};

use laniakea_fuzz::{TARGETS, Target};

/// Chosen by name, so that one program holds all targets.
static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = env::var("LANIAKEA_FUZZ").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("LANIAKEA_FUZZ is one of: {}", names.join(" "));
        std::process::exit(64)
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
