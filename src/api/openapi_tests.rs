//! The document against the rules of OpenAPI 3.1 that a reader relies on.

use std::collections::BTreeSet;

use super::*;
use crate::api::read_models::Column;
use crate::api::routes;

fn whole() -> Value {
    let commands = [CommandInfo {
        context: "trading",
        name: "place-order".to_owned(),
        schema: json!({
            "description": "Places an order.",
            "type": "object",
            "properties": {"side": {"$ref": "#/$defs/Side"}},
            "$defs": {"Side": {"enum": ["buy", "sell"]}},
        }),
    }];
    let models = [Arc::new(Model {
        name: "trading_orders",
        key: "order_id",
        columns: vec![
            Column { name: "order_id".to_owned(), kind: Kind::Text },
            Column { name: "price".to_owned(), kind: Kind::Decimal },
        ],
        sources: vec!["trading_orders".to_owned()],
    })];
    document(&routes::all(), &commands, &models, true)
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().expect("a path item");
            item.iter().map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
        })
        .collect()
}

#[test]
fn every_route_stands_in_the_document() {
    let document = whole();
    for route in routes::all() {
        let path = route
            .path
            .replace("{read_model}", "trading_orders")
            .replace("{context}/{name}", "trading/place-order");
        let operation = &document["paths"][&path][route.method];
        assert!(operation.is_object(), "{} {path}", route.method);
        for (status, _) in route.answers {
            assert!(operation["responses"][status.to_string()].is_object(), "{path} {status}");
        }
    }
}

#[test]
fn operations_keep_the_rules() {
    let document = whole();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(path.starts_with('/'), "{at}");
        assert!(["get", "post"].contains(&method.as_str()), "{at}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{at}");
        assert!(operation["summary"].is_string(), "{at}");
        let responses = operation["responses"].as_object().expect("responses");
        assert!(!responses.is_empty() && responses.values().all(|r| r["description"].is_string()));
        assert_eq!(
            operation.get("requestBody").is_some(),
            path.starts_with("/v1/commands/"),
            "{at}"
        );
        let parameters = operation["parameters"].as_array().expect("parameters");
        let mut named = BTreeSet::new();
        for parameter in parameters {
            let key = (parameter["in"].to_string(), parameter["name"].to_string());
            assert!(named.insert(key), "{at}: {parameter} stands twice");
            assert!(parameter["schema"].is_object(), "{at}");
        }
        let in_braces: BTreeSet<String> = path
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap().to_owned())
            .collect();
        let declared: BTreeSet<String> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| {
                assert_eq!(parameter["required"], true, "{at}");
                parameter["name"].as_str().expect("a name").to_owned()
            })
            .collect();
        assert_eq!(in_braces, declared, "{at}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    let pointer = target.strip_prefix('#').expect("within the document");
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                object.values().for_each(|value| check(document, value));
            }
            Value::Array(values) => values.iter().for_each(|value| check(document, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = whole();
    check(&document, &document);
    let names = document["components"]["schemas"].as_object().expect("schemas").keys();
    for name in names {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        assert!(plain, "{name}");
    }
}

#[test]
fn a_command_and_a_row_are_described() {
    let document = whole();
    let schemas = &document["components"]["schemas"];
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&json!({
            "command": schemas["trading.place-order"],
            "definition": schemas["trading.Side"],
            "row": schemas["trading_orders"],
            "get": document["paths"]["/v1/trading_orders/{key}"]["get"]["responses"]["200"],
        }))
        .expect("JSON")
    );
}
