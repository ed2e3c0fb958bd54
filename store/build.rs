//! Compiles the definitions of the KurrentDB protocol in `proto/`, in Rust alone: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folders = ["../proto/event_store", "../proto/kurrentdb", "../proto/google"];
    for folder in folders {
        println!("cargo::rerun-if-changed={folder}");
    }
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_imports(true);
    compiler.open_files([
        "event_store/client/gossip.proto",
        "event_store/client/monitoring.proto",
        "event_store/client/operations.proto",
        "event_store/client/persistent_subscriptions.proto",
        "event_store/client/projections.proto",
        "event_store/client/server_features.proto",
        "event_store/client/streams.proto",
        "event_store/client/users.proto",
        "kurrentdb/protocol/v2/streams/errors.proto",
        "kurrentdb/protocol/v2/streams/streams.proto",
    ])?;
    // Events are written straight from what the log gives.
    let event = "crate::protocol::events::EventMessage";
    tonic_prost_build::configure()
        .build_client(false)
        .include_file("kurrent.rs")
        .extern_path(".event_store.client.streams.ReadResp.ReadEvent.RecordedEvent", event)
        .extern_path(
            ".event_store.client.persistent_subscriptions.ReadResp.ReadEvent.RecordedEvent",
            event,
        )
        .bytes(".")
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
