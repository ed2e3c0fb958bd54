//! Compiles the protocol definitions in `proto/` to messages and clients, in Rust alone: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["annals/v1/annals.proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".annals.v1.AppendStreamRequest", "crate::encoded::Encoded")
        .extern_path(".annals.v1.ReadResponse", "crate::recorded::ReadResponse")
        .extern_path(".annals.v1.EventBatch", "crate::recorded::EventBatch")
        .extern_path(".annals.v1.RecordedEvent", "crate::recorded::RecordedEvent")
        .bytes(".annals.v1")
        .btree_map(".annals.v1")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
