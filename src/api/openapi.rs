//! The OpenAPI 3.1 document, from the list of routes, the commands' JSON Schemas and the read
//! models' columns.

use std::sync::Arc;

use annals_core::Family;
use serde_json::{Map, Value, json};

use super::read_models::{Kind, Model, OPERATORS};
use super::routes::{Answer, Parameter, Route, Shown, Value as ParameterValue};
use super::status;
use crate::router::CommandInfo;

/// The document.
pub(super) fn document(
    routes: &[Route],
    commands: &[CommandInfo],
    models: &[Arc<Model>],
    secured: bool,
) -> Value {
    let mut schemas = fixed_schemas();
    let mut paths = Map::new();
    for route in routes {
        match route.shown {
            Shown::Once => add(&mut paths, route.path, route, operation(route)),
            Shown::PerCommand => {
                for command in commands {
                    let path = format!("/v1/commands/{}/{}", command.context, command.name);
                    let name = schema_name(command.context, &command.name);
                    hoist(&mut schemas, command.context, &name, &command.schema);
                    add(&mut paths, &path, route, of_command(route, command, &name));
                }
            }
            Shown::PerReadModel => {
                for model in models {
                    let path = route.path.replace("{read_model}", model.name);
                    schemas.insert(model.name.to_owned(), row_schema(model));
                    add(&mut paths, &path, route, of_model(route, model));
                }
            }
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Annals",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "An event-sourced CQRS engine: commands in, events kept, rows out",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    });
    if secured {
        document["security"] = json!([{"bearer": []}, {"key": []}, {"basic": []}]);
    }
    document
}

fn add(paths: &mut Map<String, Value>, path: &str, route: &Route, operation: Value) {
    let item = paths.entry(path).or_insert_with(|| json!({}));
    let mut operation = operation;
    operation["operationId"] = Value::from(operation_id(route.method, path));
    if path.starts_with("/health/") || path == "/docs" {
        operation["security"] = json!([]);
    }
    item[route.method] = operation;
}

/// A name made of the path: `get /v1/streams/{stream}` is `get_v1_streams_stream`.
fn operation_id(method: &str, path: &str) -> String {
    let plain: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    let words: Vec<&str> = std::iter::once(method).chain(plain.split_whitespace()).collect();
    words.join("_")
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn of_parameter((name, value, description): &Parameter) -> Value {
    let schema = match value {
        ParameterValue::Text => json!({"type": "string"}),
        ParameterValue::Number => json!({"type": "integer", "format": "int64", "minimum": 0}),
        ParameterValue::Truth => json!({"type": "boolean"}),
        ParameterValue::Time => json!({"type": "string", "format": "date-time"}),
    };
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

/// The parameters in a path's braces.
fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let required =
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    names.map(required).collect()
}

fn answer((status, schema): &Answer) -> (String, Value) {
    let content = |media_type: &str, schema: Value| json!({media_type: {"schema": schema}});
    let description = match status {
        201 => "Events were recorded.",
        202 => "It goes on; ask for the work.",
        204 => "All is well.",
        _ => "The answer.",
    };
    let mut answer = json!({"description": description});
    match *schema {
        "" => {}
        "Text" => answer["content"] = content("text/plain", json!({"type": "string"})),
        "Html" => answer["content"] = content("text/html", json!({"type": "string"})),
        "Object" => answer["content"] = content("application/json", json!({"type": "object"})),
        schema => answer["content"] = content("application/json", reference(schema)),
    }
    (status.to_string(), answer)
}

fn problems(families: &[Family]) -> impl Iterator<Item = (String, Value)> + '_ {
    families.iter().map(|family| {
        let status = status::of(*family);
        let content = json!({"application/problem+json": {"schema": reference("Problem")}});
        let described = json!({"description": format!("{}.", status.title), "content": content});
        (status.http.as_u16().to_string(), described)
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters = in_path(route.path);
    parameters.extend(route.parameters.iter().map(of_parameter));
    let families: &[Family] = match route.tag {
        "commands" => &annals_core::Family::ALL,
        "server" => &[Family::Unauthenticated, Family::Denied, Family::Unavailable],
        _ => &[
            Family::Malformed,
            Family::Unauthenticated,
            Family::Denied,
            Family::NotFound,
            Family::Conflict,
            Family::TooMuch,
            Family::Damage,
            Family::Unavailable,
        ],
    };
    let responses: Map<String, Value> =
        route.answers.iter().map(answer).chain(problems(families)).collect();
    json!({
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    })
}

fn schema_name(context: &str, name: &str) -> String {
    format!("{context}.{name}")
}

fn of_command(route: &Route, command: &CommandInfo, schema: &str) -> Value {
    let mut operation = operation(route);
    operation["tags"] = json!([format!("commands: {}", command.context)]);
    if let Some(description) = command.schema.get("description") {
        operation["summary"] = description.clone();
    }
    operation["parameters"] = json!([
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A UUID or any text of 1 to 255 bytes. The same key again gives the first \
                            answer and changes nothing.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        {
            "name": "traceparent",
            "in": "header",
            "description": "W3C trace context; kept with the events.",
            "schema": {"type": "string"},
        },
    ]);
    operation["requestBody"] = json!({
        "required": true,
        "content": {"application/json": {"schema": reference(schema)}},
    });
    let content = json!({"application/problem+json": {"schema": reference("Problem")}});
    for (status, description) in [("413", "The body is too large."), ("415", "It is not JSON.")] {
        operation["responses"][status] = json!({"description": description, "content": content});
    }
    operation
}

/// Moves a command's schema under `components`, and its definitions with it, which all its
/// references then follow.
fn hoist(schemas: &mut Map<String, Value>, context: &str, name: &str, schema: &Value) {
    let mut schema = schema.clone();
    let definitions = schema.as_object_mut().and_then(|object| object.remove("$defs"));
    point(&mut schema, context);
    schemas.insert(name.to_owned(), schema);
    for (definition, mut schema) in
        definitions.as_ref().and_then(Value::as_object).cloned().unwrap_or_default()
    {
        point(&mut schema, context);
        schemas.insert(schema_name(context, &definition), schema);
    }
}

fn point(schema: &mut Value, context: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(definition) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/components/schemas/{}", schema_name(context, definition));
            }
            object.values_mut().for_each(|value| point(value, context));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| point(value, context)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn of_model(route: &Route, model: &Model) -> Value {
    let mut operation = operation(route);
    operation["tags"] = json!([model.name]);
    let is_page = !route.path.contains("{key}");
    let mut parameters = Vec::new();
    if is_page {
        for column in model.columns.iter().filter(|column| column.kind != Kind::Other) {
            let operators: Vec<String> =
                OPERATORS.iter().map(|(name, _)| format!("{}[{name}]", column.name)).collect();
            parameters.push(json!({
                "name": column.name,
                "in": "query",
                "description": format!("Rows with this value; also {}.", operators.join(", ")),
                "schema": {"type": "string"},
            }));
        }
    } else {
        parameters.extend(in_path("{key}"));
    }
    parameters.extend(route.parameters.iter().map(of_parameter));
    operation["parameters"] = Value::from(parameters);
    let schema = if is_page {
        json!({
            "type": "object",
            "required": ["items", "next_cursor", "position"],
            "properties": {
                "items": {"type": "array", "items": reference(model.name)},
                "next_cursor": {"type": ["string", "null"]},
                "position": {"type": ["integer", "null"], "format": "int64"},
            },
        })
    } else {
        reference(model.name)
    };
    let position = json!({
        "description": "The position up to which the rows are folded.",
        "schema": {"type": "integer", "format": "int64"},
    });
    operation["responses"]["200"] = json!({
        "description": "The answer.",
        "headers": {"X-Annals-Position": position},
        "content": {"application/json": {"schema": schema}},
    });
    operation
}

fn row_schema(model: &Model) -> Value {
    let properties: Map<String, Value> = model
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.kind.json_schema()))
        .collect();
    json!({"type": "object", "properties": properties})
}

fn fixed_schemas() -> Map<String, Value> {
    let number = json!({"type": ["integer", "null"], "format": "int64"});
    let events = json!({"type": "array", "items": reference("RecordedEvent")});
    let schemas = json!({
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"type": "string", "description": "A stable name for programs."},
            },
        },
        "Answer": {
            "type": "object",
            "required": ["stream", "revision", "position", "events"],
            "properties": {
                "stream": {"type": "string"},
                "revision": number,
                "position": number,
                "events": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type", "data"],
                        "properties": {"type": {"type": "string"}, "data": {"type": "object"}},
                    },
                },
            },
        },
        "Commands": {
            "type": "object",
            "required": ["commands"],
            "properties": {"commands": {"type": "array", "items": {"type": "object"}}},
        },
        "RecordedEvent": {
            "type": "object",
            "required": [
                "id", "stream", "revision", "position", "type", "time", "metadata", "data",
            ],
            "properties": {
                "id": {"type": "string", "format": "uuid"},
                "stream": {"type": "string"},
                "revision": {"type": "integer", "format": "int64"},
                "position": {"type": "integer", "format": "int64"},
                "type": {"type": "string"},
                "time": {"type": "string", "format": "date-time"},
                "metadata": {"type": "object"},
                "data": {},
                "undecodable": {"type": "string"},
            },
        },
        "StreamPage": {
            "type": "object",
            "required": ["stream", "events", "next_from_revision"],
            "properties": {
                "stream": {"type": "string"}, "events": events, "next_from_revision": number,
            },
        },
        "LogPage": {
            "type": "object",
            "required": ["events", "next_from_position", "head"],
            "properties": {"events": events, "next_from_position": number, "head": number},
        },
        "Projections": {
            "type": "object",
            "required": ["projections", "head"],
            "properties": {
                "projections": {"type": "array", "items": {"type": "object"}}, "head": number,
            },
        },
        "Work": {
            "type": "object",
            "required": ["projection", "kind", "state"],
            "properties": {
                "projection": {"type": "string"},
                "kind": {"enum": ["rebuild", "verify"]},
                "state": {"enum": ["running", "done", "failed"]},
                "report": {"type": "object"},
                "problem": reference("Problem"),
            },
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
