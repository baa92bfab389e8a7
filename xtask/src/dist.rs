//! Makes the files that are delivered: the program `bezant` without debug information, and the file
//! `bezant.debug` with it. A debugger or a backtrace finds `bezant.debug` through a link in `bezant`, as long
//! as both are in one folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Maximum size of the delivered program in bytes.
const SIZE_MAX: u64 = 25 << 20;

/// Splits the built program `target/release/bezant` into `target/dist/bezant` and `target/dist/bezant.debug`.
/// Fails when the new program is larger than [`SIZE_MAX`], or does not run.
pub(crate) fn make(root: &Path) -> Result<String> {
    let built = root.join("target/release/bezant");
    ensure!(built.is_file(), "{} is missing: cargo build --release -p bezant-cli", built.display());
    let folder = root.join("target/dist");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (program, debug) = (folder.join("bezant"), folder.join("bezant.debug"));
    objcopy(&folder, &["--only-keep-debug", &built.to_string_lossy(), "bezant.debug"])?;
    objcopy(
        &folder,
        &["--strip-all", "--add-gnu-debuglink=bezant.debug", &built.to_string_lossy(), "bezant"],
    )?;
    let version = Command::new(&program).arg("--version").output().context("the stripped program")?;
    ensure!(version.status.success(), "{} does not run", program.display());
    let [size, debug_size] = [&program, &debug].map(|path| fs::metadata(path).map(|found| found.len()));
    let (size, debug_size) = (size?, debug_size?);
    ensure!(size <= SIZE_MAX, "{} has {size} bytes, {SIZE_MAX} is the limit", program.display());
    Ok(format!(
        "{}: {:.1} MiB; {}: {:.1} MiB",
        program.display(),
        mebibytes(size),
        debug.display(),
        mebibytes(debug_size)
    ))
}

fn objcopy(folder: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("objcopy").args(arguments).current_dir(folder).status();
    let status = status.context("objcopy (Debian's package binutils) cannot be run")?;
    ensure!(status.success(), "objcopy {} failed", arguments.join(" "));
    Ok(())
}

#[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "for people to read")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
