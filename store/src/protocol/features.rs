//! What clients may call. They ask first, and do not call what is not listed; so nothing is listed that is not served.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::service::{PROTOCOL_VERSION, Protocol};
use super::wire::v1::Empty;
use super::wire::v1::server_features::server_features_server::ServerFeatures;
use super::wire::v1::server_features::{SupportedMethod, SupportedMethods};

/// A service with its methods and what each of them can do.
type Served = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// A persistent subscription may be to a stream or to the whole log.
const ALL: &[&str] = &["stream", "all"];

/// Everything that is served, in lower case.
const SERVED: &[Served] = &[
    ("event_store.client.gossip.gossip", &[("read", &[])]),
    ("event_store.client.monitoring.monitoring", &[("stats", &[])]),
    (
        "event_store.client.operations.operations",
        &[("restartpersistentsubscriptions", &[]), ("shutdown", &[])],
    ),
    (
        "event_store.client.persistent_subscriptions.persistentsubscriptions",
        &[
            ("create", ALL),
            ("update", ALL),
            ("delete", ALL),
            ("read", ALL),
            ("getinfo", ALL),
            ("replayparked", ALL),
            ("truncateparked", ALL),
            ("list", ALL),
            ("restartsubsystem", ALL),
        ],
    ),
    ("event_store.client.server_features.serverfeatures", &[("getsupportedmethods", &[])]),
    (
        "event_store.client.streams.streams",
        &[
            ("read", &["position", "events"]),
            ("append", &[]),
            ("batchappend", &["deadline_duration"]),
            ("delete", &[]),
            ("tombstone", &[]),
        ],
    ),
    (
        "kurrentdb.protocol.v2.streams.streamsservice",
        &[("appendsession", &[]), ("appendrecords", &[])],
    ),
];

/// What is served besides where the store keeps projections; those of users' own are not.
const PROJECTIONS: Served = (
    "event_store.client.projections.projections",
    &[
        ("statistics", &[]),
        ("disable", &[]),
        ("enable", &[]),
        ("reset", &[]),
        ("state", &[]),
        ("result", &[]),
        ("restartsubsystem", &[]),
    ],
);

/// What is served beside, where users must sign in.
const USERS: Served = (
    "event_store.client.users.users",
    &[
        ("create", &[]),
        ("update", &[]),
        ("delete", &[]),
        ("disable", &[]),
        ("enable", &[]),
        ("details", &[]),
        ("changepassword", &[]),
        ("resetpassword", &[]),
    ],
);

/// The service.
pub struct FeaturesService(pub Arc<Protocol>);

#[tonic::async_trait]
impl ServerFeatures for FeaturesService {
    async fn get_supported_methods(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let has_projections = self.0.parts.settings.system_projections.is_some();
        let has_users = self.0.users.is_some();
        let served = SERVED.iter().chain(has_projections.then_some(&PROJECTIONS));
        let served = served.chain(has_users.then_some(&USERS));
        let methods = served.flat_map(|(service, methods)| {
            methods.iter().map(|(method, features)| SupportedMethod {
                method_name: (*method).to_owned(),
                service_name: (*service).to_owned(),
                features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            })
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.collect(),
            event_store_server_version: PROTOCOL_VERSION.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::protocol;
    use super::*;

    #[tokio::test]
    async fn projections_are_listed_where_the_store_keeps_them() {
        for keeps in [true, false] {
            let mut protocol = Arc::into_inner(protocol()).expect("it has one owner");
            if !keeps {
                protocol.parts.settings.system_projections = None;
            }
            let service = FeaturesService(Arc::new(protocol));
            let listed = service.get_supported_methods(Request::new(Empty {})).await;
            let listed = listed.expect("it is served").into_inner().methods;
            let of_projections = listed.iter().filter(|it| it.service_name == PROJECTIONS.0);
            let names: Vec<_> = of_projections.map(|it| it.method_name.as_str()).collect();
            assert_eq!(names.contains(&"enable"), keeps, "{names:?}");
            assert!(!names.contains(&"create"), "{names:?}");
            assert!(listed.iter().any(|it| it.method_name == "batchappend"));
        }
    }

    #[test]
    fn names_are_in_lower_case_and_the_version_in_digits() {
        for (service, methods) in SERVED.iter().chain([&PROJECTIONS, &USERS]) {
            assert_eq!(service.to_lowercase(), *service);
            assert!(!methods.is_empty(), "{service}");
            for (method, _) in *methods {
                assert_eq!(method.to_lowercase(), *method);
            }
        }
        let parts: Vec<_> = PROTOCOL_VERSION.split('.').map(str::parse::<u16>).collect();
        assert!(parts.len() == 3 && parts.iter().all(Result::is_ok), "{PROTOCOL_VERSION}");
    }
}
