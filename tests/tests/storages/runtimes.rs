//! A storage is used from one tokio runtime after the other, as tests and command-line programs do.

use cacheme_storage::Chain;
use tests::{Kind, RedisCluster, shared_url};

use super::{entry, open};

fn serves_several_runtimes(url: &str) {
    let storage = open(url);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    for turn in 0..3 {
        runtime().block_on(async {
            if turn == 0 {
                storage.set(&[entry(b"runtimes", "v", None)]).await.unwrap();
            }
            let found = storage.get(&[b"runtimes"]).await.unwrap();
            assert_eq!(found, [Some("v".into())], "{url}, turn {turn}");
        });
    }
    runtime().block_on(async {
        storage.close().await.unwrap();
        let error = storage.get(&[b"runtimes"]).await.unwrap_err();
        assert!(Chain(&error).to_string().contains("was closed"), "{error}");
    });
}

#[test]
fn every_storage_serves_several_runtimes_one_after_the_other() {
    for kind in [Kind::Redis, Kind::Postgres, Kind::MySql, Kind::MongoDb] {
        serves_several_runtimes(&shared_url(kind));
    }
    serves_several_runtimes(&RedisCluster::start().url());
    let folder = tempfile::tempdir().unwrap();
    serves_several_runtimes(&format!("sqlite://{}/cache.db", folder.path().display()));
}
