//! Compiles the protocol definitions in `proto/`, in Rust alone: no `protoc` is needed.

use std::path::PathBuf;

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["annals/v1/annals.proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("annals.v1.bin"), compiler.encode_file_descriptor_set())?;
    let mut files = compiler.file_descriptor_set();
    leave_unread(&mut files, "StreamWrite", "events");
    let events = "crate::api::grpc::encoded::EventMessage";
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".annals.v1.ReadResponse", events)
        .extern_path(".annals.v1.EventBatch", events)
        .bytes(".annals.v1")
        .btree_map(".annals.v1")
        .compile_fds(files)?;
    Ok(())
}

/// Has the messages of a field left as the bytes that they came in; who needs them reads them there.
fn leave_unread(files: &mut FileDescriptorSet, message: &str, field: &str) {
    let messages = files.file.iter_mut().flat_map(|file| &mut file.message_type);
    let fields =
        messages.filter(|found| found.name() == message).flat_map(|found| &mut found.field);
    for found in fields.filter(|found| found.name() == field) {
        found.set_type(Type::Bytes);
        found.type_name = None;
    }
}
