//! Every REST route once, with its handler and its description: the server and the OpenAPI document
//! are both made from this list, so neither can have a route that the other lacks.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};

use super::access::Wants;
use super::state::ApiState;
use super::{commands, debug, documentation, health, kurrent, log, projections, queries};

/// How a route appears in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it is.
    Once,
    /// As one path a command.
    PerCommand,
    /// As one path a read model.
    PerReadModel,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text.
    Text,
    /// A whole number from 0.
    Number,
    /// True or false.
    Truth,
    /// A time in RFC 3339.
    Time,
}

/// A parameter of the query.
pub(super) type Parameter = (&'static str, Value, &'static str);

/// The route's answer where all goes well.
pub(super) type Answer = (u16, &'static str);

/// A route.
pub(super) struct Route {
    /// `get` or `post`.
    pub(super) method: &'static str,
    /// Its pattern.
    pub(super) path: &'static str,
    /// How it appears.
    pub(super) shown: Shown,
    /// Which group it belongs to.
    pub(super) tag: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// The parameters of its query.
    pub(super) parameters: Vec<Parameter>,
    /// Its answers, without problems; the second is the name of a schema, empty for no body.
    pub(super) answers: &'static [Answer],
    /// Who may ask, where users sign in.
    pub(super) wants: Wants,
    /// What answers it.
    pub(super) handler: MethodRouter<Arc<ApiState>>,
}

const WAIT: [Parameter; 2] = [
    ("not_before_position", Value::Number, "Answer from this position on; waits for it."),
    ("timeout_ms", Value::Number, "How long to wait for it, in milliseconds. Then 503."),
];
const LIMIT: Parameter = ("limit", Value::Number, "How many at most.");
const BACKWARDS: Parameter = ("backwards", Value::Truth, "From younger to older.");
const SUBJECT: [Parameter; 3] = [
    ("stream", Value::Text, "A stream, or:"),
    ("read_model", Value::Text, "A read model."),
    ("key", Value::Text, "The key of its row."),
];

const fn moment(names: [&'static str; 3]) -> [Parameter; 3] {
    [
        (names[0], Value::Number, "At this revision of the subject."),
        (names[1], Value::Number, "At this position of the log."),
        (names[2], Value::Time, "At this time."),
    ]
}

const AT: [Parameter; 3] = moment(["at_revision", "at_position", "at_time"]);
const FROM: [Parameter; 3] = moment(["from_revision", "from_position", "from_time"]);
const TO: [Parameter; 3] = moment(["to_revision", "to_position", "to_time"]);

fn route(
    method: &'static str,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    handler: MethodRouter<Arc<ApiState>>,
) -> Route {
    let answers: &[Answer] = &[(200, "Object")];
    let (shown, parameters, wants) = (Shown::Once, vec![], Wants::User);
    Route { method, path, shown, tag, summary, parameters, answers, wants, handler }
}

/// Every route.
pub(super) fn all() -> Vec<Route> {
    [of_commands(), of_the_log(), of_projections(), of_debugging(), of_the_server(), of_rows()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_commands() -> Vec<Route> {
    vec![
        Route {
            answers: &[(200, "Commands")],
            ..route(
                "get",
                "/v1/commands",
                "commands",
                "Every command, with the JSON Schema of its fields",
                get(commands::list),
            )
        },
        Route {
            shown: Shown::PerCommand,
            answers: &[(200, "Answer"), (201, "Answer")],
            ..route(
                "post",
                "/v1/commands/{context}/{name}",
                "commands",
                "Carries out a command; answers once its events are durable",
                post(commands::post),
            )
        },
    ]
}

fn of_rows() -> Vec<Route> {
    let page = [
        ("sort", Value::Text, "Columns, comma between; `-` before one sorts from great to small."),
        LIMIT,
        ("cursor", Value::Text, "The next_cursor of the page before."),
    ];
    vec![
        Route {
            shown: Shown::PerReadModel,
            parameters: [&page[..], &WAIT[..]].concat(),
            answers: &[(200, "Page")],
            ..route("get", "/v1/{read_model}", "read models", "Rows, in pages", get(queries::list))
        },
        Route {
            shown: Shown::PerReadModel,
            parameters: WAIT.to_vec(),
            answers: &[(200, "Row")],
            ..route("get", "/v1/{read_model}/{key}", "read models", "One row", get(queries::get))
        },
    ]
}

fn of_the_log() -> Vec<Route> {
    vec![
        Route {
            parameters: vec![
                ("from_revision", Value::Number, "The first revision."),
                BACKWARDS,
                LIMIT,
            ],
            answers: &[(200, "StreamPage")],
            wants: Wants::Administrator,
            ..route(
                "get",
                "/v1/streams/{stream}",
                "log",
                "The events of a stream",
                get(log::stream),
            )
        },
        Route {
            parameters: vec![
                ("from_position", Value::Number, "The first position."),
                ("type_prefix", Value::Text, "The event's type begins so."),
                ("stream_prefix", Value::Text, "The stream's name begins so."),
                ("with_system", Value::Truth, "Show system streams (`$…`) too."),
                BACKWARDS,
                LIMIT,
            ],
            answers: &[(200, "LogPage")],
            wants: Wants::Administrator,
            ..route("get", "/v1/events", "log", "The events of the whole log", get(log::events))
        },
    ]
}

fn of_projections() -> Vec<Route> {
    let wait = ("wait_ms", Value::Number, "How long to wait for the end, in milliseconds.");
    let work = |path, summary, handler| Route {
        parameters: vec![wait],
        answers: &[(200, "Work"), (202, "Work")],
        wants: Wants::Operator,
        ..route("post", path, "projections", summary, handler)
    };
    vec![
        Route {
            answers: &[(200, "Projections")],
            wants: Wants::Operator,
            ..route(
                "get",
                "/v1/projections",
                "projections",
                "How every projection stands",
                get(projections::list),
            )
        },
        work(
            "/v1/projections/{name}/rebuild",
            "Folds all rows from history again; readers see the old ones until then",
            post(projections::rebuild),
        ),
        work(
            "/v1/projections/{name}/verify",
            "Compares the rows with what history gives",
            post(projections::verify),
        ),
        Route {
            answers: &[(200, "Work")],
            wants: Wants::Operator,
            ..route(
                "get",
                "/v1/projections/{name}/work",
                "projections",
                "The rebuild or verification that runs, or ran last",
                get(projections::last_work),
            )
        },
    ]
}

fn of_debugging() -> Vec<Route> {
    let window = [
        ("from_position", Value::Number, "Not before this position."),
        ("youngest", Value::Truth, "The last ones, where there are more than limit."),
        LIMIT,
    ];
    let debugging = |path, summary, parameters, handler| Route {
        parameters,
        // It shows events of any stream.
        wants: Wants::Administrator,
        ..route("get", path, "debugging", summary, handler)
    };
    vec![
        debugging(
            "/v1/debug/state",
            "A stream's state, or a row, at any past moment",
            [SUBJECT, AT].concat(),
            get(debug::state),
        ),
        debugging(
            "/v1/debug/history",
            "The events that made it, and what each changed",
            [SUBJECT, AT, window].concat(),
            get(debug::history),
        ),
        debugging(
            "/v1/debug/diff",
            "What differs between two moments",
            [SUBJECT, FROM, TO].concat(),
            get(debug::diff),
        ),
    ]
}

fn of_the_server() -> Vec<Route> {
    let server = |path, summary, answers, wants, handler| Route {
        answers,
        wants,
        ..route("get", path, "server", summary, handler)
    };
    vec![
        server(
            "/health/live",
            "Whether the process lives",
            &[(204, "")],
            Wants::Nobody,
            get(health::live),
        ),
        server(
            "/health/ready",
            "Whether everything works",
            &[(204, "")],
            Wants::Nobody,
            get(health::ready),
        ),
        server(
            "/gossip",
            "The members of the cluster, for KurrentDB clients",
            &[(200, "Object")],
            Wants::Nobody,
            get(kurrent::gossip),
        ),
        server(
            "/info",
            "The version of the KurrentDB protocol",
            &[(200, "Object")],
            Wants::Nobody,
            get(kurrent::info),
        ),
        server(
            "/metrics",
            "Metrics in Prometheus' format",
            &[(200, "Text")],
            Wants::Operator,
            get(health::metrics),
        ),
        server(
            "/openapi.json",
            "This document",
            &[(200, "Object")],
            Wants::User,
            get(documentation::document),
        ),
        server(
            "/docs",
            "This document, to read",
            &[(200, "Html")],
            Wants::Nobody,
            get(documentation::page),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths by who may ask for them.
    fn paths(wants: Wants) -> Vec<&'static str> {
        all().into_iter().filter(|route| route.wants == wants).map(|route| route.path).collect()
    }

    #[test]
    fn who_may_ask_for_what_is_a_contract() {
        let open = ["/health/live", "/health/ready", "/gossip", "/info", "/docs"];
        assert_eq!(paths(Wants::Nobody), open);
        let of_users = [
            "/v1/commands",
            "/v1/commands/{context}/{name}",
            "/openapi.json",
            "/v1/{read_model}",
            "/v1/{read_model}/{key}",
        ];
        assert_eq!(paths(Wants::User), of_users);
        let of_operators = [
            "/v1/projections",
            "/v1/projections/{name}/rebuild",
            "/v1/projections/{name}/verify",
            "/v1/projections/{name}/work",
            "/metrics",
        ];
        assert_eq!(paths(Wants::Operator), of_operators);
        let of_administrators = [
            "/v1/streams/{stream}",
            "/v1/events",
            "/v1/debug/state",
            "/v1/debug/history",
            "/v1/debug/diff",
        ];
        assert_eq!(paths(Wants::Administrator), of_administrators);
    }
}
