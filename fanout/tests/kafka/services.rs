//! The broker and the registry of this test program: started once, on free ports, in a folder of their own. A helper
//! process stops them when the program ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tokio::sync::RwLock;

/// Held for reading by a test that needs the services, for writing by one that stops them.
pub(crate) static UNDISTURBED: RwLock<()> = RwLock::const_new(());

/// The variables that give a child of this program the services of its parent.
pub(crate) const BROKERS: &str = "ANNALS_TEST_BROKERS";
pub(crate) const REGISTRY: &str = "ANNALS_TEST_REGISTRY";

/// Where the services are.
pub(crate) struct Services {
    pub(crate) brokers: String,
    pub(crate) registry: String,
    folder: PathBuf,
    /// Its standard input ends with this program; it stops the services then. A program that was given its services
    /// by [`BROKERS`] and [`REGISTRY`] has none.
    _watchdog: Option<Child>,
}

/// The running services.
pub(crate) fn services() -> &'static Services {
    static SERVICES: OnceLock<Services> = OnceLock::new();
    SERVICES.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("annals-fanout-{}", std::process::id()));
        if let (Ok(brokers), Ok(registry)) = (std::env::var(BROKERS), std::env::var(REGISTRY)) {
            return Services { brokers, registry, folder, _watchdog: None };
        }
        let watchdog = Some(watchdog(&folder));
        script("start", &folder, &["kafka", "registry"]);
        let settings = script("env", &folder, &["kafka", "registry"]);
        let setting = |name: &str| {
            let line = settings.lines().find_map(|line| line.split_once(&format!("{name}=")));
            line.unwrap_or_else(|| panic!("no {name} in {settings}")).1.to_owned()
        };
        let brokers = setting("KAFKA_BOOTSTRAP_SERVERS");
        let registry = setting("SCHEMA_REGISTRY_URL");
        Services { brokers, registry, folder, _watchdog: watchdog }
    })
}

impl Services {
    /// Stops one service; only with [`UNDISTURBED`] held for writing.
    pub(crate) async fn stop(&'static self, service: &'static str) {
        self.run("stop", service).await;
    }

    /// Starts it again, with its data, and waits until it is healthy.
    pub(crate) async fn start(&'static self, service: &'static str) {
        self.run("start", service).await;
    }

    async fn run(&'static self, verb: &'static str, service: &'static str) {
        let ran = tokio::task::spawn_blocking(move || script(verb, &self.folder, &[service]));
        ran.await.expect("the script ran");
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services.sh")
}

fn script(verb: &str, folder: &Path, services: &[&str]) -> String {
    let ran = Command::new("bash").arg(path()).arg(verb).arg(folder).args(services).output();
    let ran = ran.expect("bash is there to run scripts/services.sh");
    assert!(
        ran.status.success(),
        "scripts/services.sh {verb} {services:?} failed, and these tests need it:\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn watchdog(folder: &Path) -> Child {
    let wait = "cat >/dev/null; bash \"$1\" stop \"$2\"; rm -rf \"$2\"";
    Command::new("setsid")
        .args(["sh", "-c", wait, "watchdog"])
        .arg(path())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setsid is there to watch over the services")
}
