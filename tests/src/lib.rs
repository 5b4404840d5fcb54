//! Private servers for the integration tests: started on free ports, with data folders of their own, and gone when the
//! test is, however it ends. And a storage that does what a test tells it to.

mod kinds;
mod port;
mod proxy;
mod redis_groups;
mod server;

pub use cacheme_storage::testing::{Gate, InMemoryRemote as MemoryRemote, Operation, Trouble};
pub use kinds::{
    Kind, mariadb, mongodb, mongodb_is_emulated, mongodb_on_disk, pgbouncer, postgres, postgres_standby,
    redis, redis_server, shared_url,
};
pub use port::free_port;
pub use proxy::{Proxy, Traffic};
pub use redis_groups::{RedisCluster, RedisSentinels, redis_cli, redis_sentinel};
pub use server::{CommandLine, Program, Server};
