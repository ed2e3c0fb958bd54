//! Checks the files that deploy Annals, without a container engine: the compose file, the image's recipe, what
//! Prometheus and Grafana read. A typing error in them shows here and not on the machine of whoever tries them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_yaml_ng::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn yaml(path: &str) -> Value {
    let mut value: Value =
        serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    value.apply_merge().unwrap_or_else(|error| panic!("{path}: {error}"));
    value
}

fn keys(value: &Value) -> BTreeSet<String> {
    let mapping = value.as_mapping().expect("a mapping");
    mapping.keys().map(|key| key.as_str().expect("text").to_owned()).collect()
}

fn items(value: &Value) -> Vec<&str> {
    let list = value.as_sequence().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|item| item.as_str().expect("text")).collect()
}

fn services() -> Vec<(String, Value)> {
    let compose = yaml("compose.yaml");
    let services = compose["services"].as_mapping().expect("services").clone();
    services.into_iter().map(|(name, it)| (name.as_str().expect("text").to_owned(), it)).collect()
}

#[test]
fn the_stack_is_whole() {
    let names: BTreeSet<_> = services().into_iter().map(|(name, _)| name).collect();
    for name in [
        "annals",
        "kafka",
        "registry",
        "postgres",
        "clickhouse",
        "kurrentdb",
        "prometheus",
        "grafana",
    ] {
        assert!(names.contains(name), "{name} is missing");
    }
}

#[test]
fn every_image_is_pinned_and_every_service_is_watched() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap_or_else(|| panic!("{name} has no image"));
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image}"));
        assert!(tag != "latest" && tag.contains('.'), "{name}: {image} is not pinned");
        assert!(service["healthcheck"]["test"].is_sequence(), "{name} has no health check");
        assert_eq!(service["restart"].as_str(), Some("unless-stopped"), "{name}");
    }
}

#[test]
fn only_loopback_is_published() {
    let mut published = BTreeSet::new();
    for (name, service) in services() {
        for port in items(&service["ports"]) {
            let parts: Vec<_> = port.split(':').collect();
            assert_eq!((parts.len(), parts[0]), (3, "127.0.0.1"), "{name} publishes {port}");
            assert!(published.insert(parts[1].to_owned()), "{name}: {port} is taken twice");
        }
    }
    assert!(published.len() >= 8);
}

#[test]
fn every_volume_and_secret_and_dependency_exists() {
    let compose = yaml("compose.yaml");
    let (volumes, secrets) = (keys(&compose["volumes"]), keys(&compose["secrets"]));
    let names = keys(&compose["services"]);
    let mut used = BTreeSet::new();
    for (name, service) in services() {
        for mount in items(&service["volumes"]) {
            let source = mount.split(':').next().unwrap_or_default();
            if let Some(path) = source.strip_prefix("./") {
                assert!(root().join(path).exists(), "{name} mounts {source}, which is not there");
            } else {
                assert!(volumes.contains(source), "{name} mounts {source}, which is not declared");
                used.insert(source.to_owned());
            }
        }
        for secret in items(&service["secrets"]) {
            assert!(secrets.contains(secret), "{name} reads the secret {secret}");
        }
        if service["depends_on"].is_mapping() {
            for other in keys(&service["depends_on"]) {
                assert!(names.contains(&other), "{name} depends on {other}");
            }
        }
    }
    assert_eq!(used, volumes, "a volume is declared and not used");
}

/// The names that the compose file takes from its env file.
fn variables(compose: &str) -> BTreeSet<String> {
    let after = compose.split("${").skip(1);
    after.filter_map(|rest| rest.split([':', '}', '-']).next().map(str::to_owned)).collect()
}

#[test]
fn no_secret_is_in_clear_and_an_empty_one_is_refused() {
    let compose = text("compose.yaml");
    let asked = variables(&compose);
    let example = text("deploy/annals.env.example");
    let offered: BTreeSet<String> = (example.lines())
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.strip_suffix('=').expect("a name without a value").to_owned())
        .collect();
    assert_eq!(asked, offered);
    for name in asked {
        let required = format!("${{{name}:?");
        let uses = compose.matches(&format!("${{{name}")).count();
        assert_eq!(compose.matches(&required).count(), uses, "{name} may be empty");
    }
    let secret =
        |key: &str| ["PASSWORD", "API_KEY", "DATABASE_URL"].iter().any(|s| key.contains(s));
    for (name, service) in services() {
        let Some(environment) = service["environment"].as_mapping() else { continue };
        for (key, value) in environment {
            let (key, value) =
                (key.as_str().expect("text"), value.as_str().expect("text in quotes"));
            assert!(!secret(key) || value.contains("${"), "{name}: {key} is in clear");
        }
    }
}

#[test]
fn the_image_is_built_in_stages_and_runs_without_privileges() {
    let recipe = text("Dockerfile").replace("\\\n", " ");
    let steps: Vec<(&str, &str)> = (recipe.lines())
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_once(' ').expect("an instruction and its arguments"))
        .collect();
    let known = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ];
    for (instruction, _) in &steps {
        assert!(known.contains(instruction), "{instruction}");
    }
    let all = |name: &str| -> Vec<&str> {
        steps.iter().filter(|(step, _)| *step == name).map(|(_, rest)| *rest).collect()
    };
    let toolchain: toml::Table = text("rust-toolchain.toml").parse().expect("TOML");
    let version = toolchain["toolchain"]["channel"].as_str().expect("a version");
    assert_eq!(
        all("FROM"),
        [format!("rust:{version}-bookworm AS build").as_str(), "debian:bookworm-slim"]
    );
    assert_eq!(all("USER"), ["annals"]);
    assert!(all("COPY").iter().any(|rest| rest.starts_with("--from=build ")));
    let entry: Vec<String> = serde_json::from_str(all("ENTRYPOINT")[0]).expect("the exec form");
    assert_eq!(entry, ["/usr/local/bin/annals"]);
    assert!(recipe.contains("--locked"));
}

#[test]
fn the_build_context_holds_every_crate_and_no_secret() {
    let ignore = text(".dockerignore");
    assert_eq!(ignore.lines().next(), Some("*"), "nothing goes in but what is named");
    let manifest: toml::Table = text("Cargo.toml").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    for member in members.iter().filter_map(|member| member.as_str()).chain(["src", "schemas"]) {
        let folder = member.trim_end_matches("/*");
        let holds = |named: &str| Path::new(folder).starts_with(named);
        let named = ignore.lines().filter_map(|line| line.strip_prefix('!')).any(holds);
        assert!(named, "{folder} is left out");
    }
    assert!(!ignore.contains("!deploy"));
}

#[test]
fn prometheus_and_grafana_read_what_annals_says() {
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["static_configs"][0]["targets"][0].as_str(), Some("annals:2113"));
    for file in items(&prometheus["rule_files"]) {
        let name = Path::new(file).file_name().expect("a name").to_string_lossy().into_owned();
        let rules = yaml(&format!("deploy/prometheus/{name}"));
        for group in rules["groups"].as_sequence().expect("groups") {
            for rule in group["rules"].as_sequence().expect("rules") {
                assert!(rule["alert"].is_string() && rule["expr"].is_string());
                assert!(rule["annotations"]["summary"].is_string());
            }
        }
    }
    let source = yaml("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let uid = source["datasources"][0]["uid"].as_str().expect("a uid");
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("deploy/grafana/dashboards/annals.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 8);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], *uid, "{}", panel["title"]);
        assert!(!panel["targets"].as_array().expect("targets").is_empty(), "{}", panel["title"]);
    }
}

/// The names of Annals' figures that a text speaks of.
fn figures(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (text.split(|c| !word(c)).filter(|name| name.starts_with("annals_")))
        .map(|name| {
            ["_bucket", "_sum", "_count"].iter().fold(name, |n, e| n.strip_suffix(e).unwrap_or(n))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_figure_shown_is_one_that_the_code_gives() {
    let shown =
        text("deploy/grafana/dashboards/annals.json") + &text("deploy/prometheus/alerts.yml");
    let mut code = String::new();
    let mut folders = vec![root().join("src")];
    let engine = ["core", "store", "fanout", "workers", "analytics", "replay"];
    folders.extend(engine.map(|name| root().join(name).join("src")));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                code += &fs::read_to_string(path).expect("text");
            }
        }
    }
    let (shown, given) = (figures(&shown), figures(&code));
    let missing: Vec<_> = shown.iter().filter(|name| !given.contains(*name)).collect();
    assert!(missing.is_empty(), "no code gives {missing:?}");
    assert!(shown.len() >= 6, "{shown:?}");
}
