//! Redis, on the driver's multiplexed connection.

use redis::AsyncCommands;

use super::{LEASE_MS, TTL_MS, key, keys, token};
use crate::side::{Info, Side};

pub(crate) struct RawRedis {
    connection: redis::aio::MultiplexedConnection,
    /// Fills by this script, which compares the lease as the databases do; without it, by a plain `SET`, which would also put
    /// back what somebody invalidated meanwhile.
    fill: Option<redis::Script>,
}

const FILL: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";

impl RawRedis {
    /// Connects. `fences` says whether fills compare the lease.
    pub(crate) async fn connect(url: &str, fences: bool) -> Self {
        let client = redis::Client::open(url).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await;
        Self {
            connection: connection.expect("it answers"),
            fill: fences.then(|| redis::Script::new(FILL)),
        }
    }
}

impl Side for RawRedis {
    async fn hit(&self, id: u64) -> Info {
        let found: Vec<u8> = self
            .connection
            .clone()
            .get(key(id))
            .await
            .expect("the server answers");
        Info::from_bytes(&found)
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let mut connection = self.connection.clone();
        let found: Vec<Vec<u8>> = connection.mget(keys(&ids)).await.expect("the server answers");
        found.iter().map(|found| Info::from_bytes(found)).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let (mut connection, token) = (self.connection.clone(), token());
        let mut set = redis::cmd("SET");
        set.arg(key(id))
            .arg(&token)
            .arg("NX")
            .arg("GET")
            .arg("PX")
            .arg(LEASE_MS);
        let found: Option<Vec<u8>> = set
            .query_async(&mut connection)
            .await
            .expect("the server answers");
        assert!(found.is_none(), "{id} is there");
        let info = Info::of(id);
        if let Some(fill) = &self.fill {
            let mut fill = fill.key(key(id));
            fill.arg(token).arg(info.to_bytes()).arg(TTL_MS);
            let filled: i64 = fill
                .invoke_async(&mut connection)
                .await
                .expect("the server answers");
            assert_eq!(filled, 1);
            return info;
        }
        let mut set = redis::cmd("SET");
        set.arg(key(id)).arg(info.to_bytes()).arg("PX").arg(TTL_MS);
        let () = set
            .query_async(&mut connection)
            .await
            .expect("the server answers");
        info
    }
}
