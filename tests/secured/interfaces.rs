//! What the own interfaces ask for, and how a key and users go together.

use annals_client::proto;
use annals_client::proto::events_client::EventsClient;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::harness::server::Server;
use crate::harness::{annals, scratch};
use crate::world::{Speaks, World};

fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{login}:{password}")))
}

fn status(server: &Server, path: &str, authorization: &str) -> u16 {
    let headers = [("Authorization", authorization)];
    let headers = if authorization.is_empty() { &[][..] } else { &headers };
    server.request("GET", path, headers, "").0
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_and_service_asks_for_its_own() {
    let world = World::first(Speaks::Clear);
    let server = world.server();
    let admin = basic("admin", &world.password);
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    make_users(&channel, &admin).await;
    let (ann, olga) = (basic("ann", "of-ann"), basic("olga", "of-olga"));
    for path in ["/health/live", "/health/ready", "/gossip", "/info", "/docs"] {
        assert!(status(server, path, "") < 300, "{path}");
    }
    // What is served with the role `all` alone is not there for whoever may ask.
    let asked = [
        ("/v1/commands", [401, 404, 404, 404]),
        ("/openapi.json", [401, 200, 200, 200]),
        ("/v1/projections", [401, 403, 404, 404]),
        ("/metrics", [401, 403, 200, 200]),
        ("/v1/events", [401, 403, 403, 200]),
        ("/v1/streams/a", [401, 403, 403, 404]),
    ];
    for (path, expected) in asked {
        let found = ["", &ann, &olga, &admin].map(|who| status(server, path, who));
        assert_eq!(found, expected, "{path}");
        for wrong in ["Basic x", "Bearer x", &basic("admin", "changeit")] {
            assert_eq!(status(server, path, wrong), 401, "{path} {wrong}");
        }
    }
    for (who, expected) in [
        ("", Code::Unauthenticated),
        (&*basic("ann", "wrong"), Code::Unauthenticated),
        (&ann, Code::PermissionDenied),
        (&olga, Code::PermissionDenied),
        (&admin, Code::Ok),
    ] {
        let mut request = Request::new(proto::ReadRequest::default());
        if !who.is_empty() {
            request.metadata_mut().insert("authorization", who.parse().expect("text"));
        }
        let answered = EventsClient::new(channel.clone()).read(request).await;
        let code = answered.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code, expected, "{who}");
    }
    // Not even an administrator makes users so.
    let write =
        proto::StreamWrite { stream: "$user-eve".to_owned(), ..proto::StreamWrite::default() };
    let append = proto::AppendRequest { writes: vec![write], ..proto::AppendRequest::default() };
    let mut request = Request::new(append);
    request.metadata_mut().insert("authorization", admin.parse().expect("text"));
    let refused = EventsClient::new(channel).append(request).await.expect_err("it is reserved");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

/// Makes ann, of no group, and olga, an operator.
async fn make_users(channel: &Channel, admin: &str) {
    use annals_store::protocol::wire::v1::users as wire;
    for (login, groups) in [("ann", vec![]), ("olga", vec!["$ops".to_owned()])] {
        let options = Some(wire::create_req::Options {
            login_name: login.to_owned(),
            password: format!("of-{login}"),
            full_name: String::new(),
            groups,
        });
        let mut request = Request::new(wire::CreateReq { options });
        request.metadata_mut().insert("authorization", admin.parse().expect("text"));
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("it listens");
        let path = http::uri::PathAndQuery::from_static("/event_store.client.users.Users/Create");
        let codec = tonic_prost::ProstCodec::<wire::CreateReq, wire::CreateResp>::default();
        grpc.unary(request, path, codec).await.expect("admin may");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_told_truthfully_and_a_key_goes_with_users() {
    const KEY: &str = "a-key-of-this-test-only";
    let folder = scratch();
    let told = |arguments: &[&str], key: &str| {
        let mut serve = annals();
        serve.args(["serve", "--role", "store", "--address", "127.0.0.1:0"]).args(arguments);
        serve.arg("--data").arg(folder.path().join("data")).env("ANNALS_API_KEY", key);
        let server = Server::start_command(&mut serve);
        let info = server.get("/info");
        let features = server.get("/gossip")["members"].as_array().map(Vec::len);
        assert_eq!(features, Some(1));
        let told = (
            info["authentication"]["type"].as_str().expect("text").to_owned(),
            info["features"]["userManagement"].as_bool().expect("a truth"),
        );
        (server, told)
    };
    let (server, found) = told(&[], "");
    assert_eq!(found, ("insecure".to_owned(), false));
    drop(server);
    let (server, found) = told(&[], KEY);
    assert_eq!(found, ("api-key".to_owned(), false));
    drop(server);
    let (server, found) = told(&["--secured"], KEY);
    assert_eq!(found, ("internal".to_owned(), true));
    // The key is that of an administrator, by any name.
    for who in [format!("Bearer {KEY}"), basic("admin", KEY), basic("eve", KEY)] {
        assert_eq!(status(&server, "/v1/events", &who), 200, "{who}");
    }
    assert_eq!(status(&server, "/v1/events", &basic("admin", "wrong")), 401);
    assert_eq!(status(&server, "/v1/events", ""), 401);
}
