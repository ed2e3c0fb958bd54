//! Compiles the definitions of the KurrentDB protocol in `proto/`, in Rust alone: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folders =
        ["../proto/event_store", "../proto/kurrent", "../proto/kurrentdb", "../proto/google"];
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
        "kurrent/rpc/errors.proto",
        "kurrentdb/protocol/v2/streams/errors.proto",
        "kurrentdb/protocol/v2/streams/streams.proto",
    ])?;
    // Messages whose fields are the same are one type; Update lacks some of Create, and says nothing in their place.
    let same = [
        (".event_store.client.streams.TombstoneReq", "streams::DeleteReq"),
        (".event_store.client.streams.TombstoneResp", "streams::DeleteResp"),
        (
            ".event_store.client.persistent_subscriptions.UpdateReq",
            "persistent_subscriptions::CreateReq",
        ),
        (
            ".event_store.client.persistent_subscriptions.TruncateParkedReq",
            "persistent_subscriptions::ReplayParkedReq",
        ),
    ];
    // Events are written straight from what the log gives.
    let event = "crate::protocol::events::EventMessage";
    // Details of errors are told with the names of their messages.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    let mut builder = tonic_prost_build::configure();
    for (message, other) in same {
        builder = builder.extern_path(message, format!("crate::protocol::wire::v1::{other}"));
    }
    builder
        .build_client(false)
        .codec_path("crate::protocol::decoding::RequestCodec")
        .include_file("kurrent.rs")
        .extern_path(".event_store.client.streams.ReadResp.ReadEvent.RecordedEvent", event)
        .extern_path(
            ".event_store.client.persistent_subscriptions.ReadResp.ReadEvent.RecordedEvent",
            event,
        )
        .bytes(".")
        .btree_map(".")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
