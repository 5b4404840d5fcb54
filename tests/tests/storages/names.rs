//! A server whose name does not resolve when the service starts, and does later.
//!
//! The names are those of a process of its own, which sees a file of ours as `/etc/hosts`: `unshare`, of Debian's `util-linux`, gives
//! it a view of the file system that it may change.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use cacheme::Storage;
use tests::{Kind, shared_url};

use super::service::{loads_in_trouble, recovers, start};

/// Under what URL the process finds the server, and which file has its names.
const URL: &str = "CACHEME_TEST_NAMES_URL";
const FILE: &str = "CACHEME_TEST_NAMES_FILE";

const NAME: &str = "late.cacheme.test";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the tests below, which run it as a process of its own"]
async fn with_names_of_its_own() {
    let told = |name| env::var(name).expect("the tests below say it");
    assert!(!fs::read_to_string("/etc/hosts").unwrap().contains(NAME));
    let (cacheme, registered) = start("names", Storage::open(&told(URL)).unwrap()).await;
    let error = registered.expect_err("the name does not resolve").to_string();
    assert!(!error.contains("timed out"), "{error}");
    loads_in_trouble(&cacheme, 2).await;
    fs::write(told(FILE), format!("127.0.0.1 localhost\n127.0.0.1 {NAME}\n")).unwrap();
    recovers(&cacheme, 3).await;
}

async fn works_once_its_name_resolves(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("hosts");
    fs::write(&names, "127.0.0.1 localhost\n").unwrap();
    let url = shared_url(kind);
    assert!(url.contains("127.0.0.1"), "{url}");
    // Not asked of a name server, which may take its time to say that there is no such name.
    let no_servers = folder.path().join("resolv.conf");
    fs::write(&no_servers, "").unwrap();
    let shown = |file: &Path, to: &str| format!("mount --bind '{}' {to}", file.display());
    let script = format!(
        "{} && {} && exec \"$0\" \"$@\"",
        shown(&names, "/etc/hosts"),
        shown(&no_servers, "/etc/resolv.conf")
    );
    let mut process = Command::new("unshare");
    process
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "names::with_names_of_its_own", "--ignored"])
        .env(URL, url.replace("127.0.0.1", NAME))
        .env(FILE, &names);
    let ran = tokio::task::spawn_blocking(move || process.output())
        .await
        .unwrap();
    let ran = ran.expect("`unshare` is installed");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{kind:?}: {said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_server_whose_name_resolves_later_is_used_then() {
    for kind in [Kind::Redis, Kind::Postgres, Kind::MySql, Kind::MongoDb] {
        works_once_its_name_resolves(kind).await;
    }
}
