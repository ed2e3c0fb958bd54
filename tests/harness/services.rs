//! A real Kafka and a real schema registry for one test, in a folder of their own, so that no other store's topics are
//! in the way. If they cannot be had, the test fails.

use std::path::Path;
use std::process::Command;

use super::{repository, run};

/// What scripts/services.sh is asked for.
const BOTH: [&str; 2] = ["kafka", "registry"];

/// Kafka and the registry, running until this is dropped.
pub(crate) struct Services {
    folder: tempfile::TempDir,
    /// Kafka, `HOST:PORT`.
    pub(crate) kafka: String,
    /// The schema registry, `http://…`.
    pub(crate) registry: String,
}

impl Services {
    /// Starts both on free ports.
    #[track_caller]
    pub(crate) fn start() -> Services {
        // Held from here on, so that where one does not start the other is stopped.
        let mut services =
            Services { folder: super::scratch(), kafka: String::new(), registry: String::new() };
        let folder = services.folder.path();
        run(script("start", folder).args(BOTH)).exits_with(0);
        let settings = run(script("env", folder).args(BOTH)).exits_with(0).stdout;
        let value = |name: &str| {
            let start = format!("export {name}=");
            let line = settings.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("no {name} in {settings}")).to_owned()
        };
        services.kafka = value("KAFKA_BOOTSTRAP_SERVERS");
        services.registry = value("SCHEMA_REGISTRY_URL");
        services
    }

    /// Tells a command of ours to use them.
    pub(crate) fn configure(&self, command: &mut Command) {
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.kafka);
        command.env("SCHEMA_REGISTRY_URL", &self.registry);
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(script("wipe", self.folder.path()).output());
    }
}

fn script(verb: &str, folder: &Path) -> Command {
    let mut bash = Command::new("bash");
    bash.arg(repository().join("scripts/services.sh")).arg(verb).arg(folder);
    bash
}
