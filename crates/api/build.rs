//! Compiles the .proto files without an installed protoc, and stores their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/bezant/v1/types.proto", "proto/bezant/v1/ledger.proto"];
    files.iter().for_each(|file| println!("cargo:rerun-if-changed={file}"));
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    let descriptors = compiler.file_descriptor_set();
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(folder.join("bezant_descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
