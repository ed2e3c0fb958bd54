//! Compiles the protocol definitions in `proto/`, in Rust alone: no `protoc` is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["annals/v1/annals.proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("annals.v1.bin"), compiler.encode_file_descriptor_set())?;
    let events = "crate::api::grpc::encoded::EventMessage";
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".annals.v1.ReadResponse", events)
        .extern_path(".annals.v1.EventBatch", events)
        .bytes(".annals.v1")
        .btree_map(".annals.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
