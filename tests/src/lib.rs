//! Private servers for the integration tests: started on free ports, with data folders of their own, and gone when the
//! test is, however it ends.

mod kinds;
mod proxy;
mod server;

pub use kinds::{
    Kind, mariadb, mongodb, mongodb_is_emulated, mongodb_on_disk, postgres, redis, redis_server, shared_url,
};
pub use proxy::{Proxy, Traffic};
pub use server::{CommandLine, Program, Server, free_port};
