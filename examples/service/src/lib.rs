//! A service with a cache between its handlers and its database.
//!
//! | to see | open |
//! |---|---|
//! | what is cached, how it is keyed, loaded and invalidated | `cached.rs` |
//! | the database, which knows nothing of the cache | `source.rs` |
//! | handlers | `routes.rs` |
//! | errors as statuses | `error.rs` |

use std::sync::Arc;

use cacheme::{Cacheme, Storage};

mod cached;
mod error;
mod routes;
mod source;

pub use cached::{MembersNode, PostsNode, UserByEmailNode, UserNode};
pub use routes::router;
pub use source::{Source, User};

/// The state of the application: handlers have it, and tests build one of their own.
#[derive(Clone, Debug)]
pub struct App {
    /// The cache.
    pub cacheme: Cacheme,
    /// The database.
    pub source: Arc<Source>,
}

impl App {
    /// Opens the database, which is filled if it is new, and the cache: in memory, and in Redis if there is one.
    ///
    /// # Errors
    ///
    /// The database cannot be opened, or a URL is no good. A Redis that is down is none: the service begins without it.
    pub async fn new(database: &str, redis: Option<&str>) -> Result<Self, Box<dyn std::error::Error>> {
        let source = Arc::new(Source::open(database).await?);
        let cacheme = Cacheme::builder()
            .prefix("service")
            .state(Arc::clone(&source))
            .build()?;
        cacheme.register_storage_lazy("local", Storage::open("local://tlfu?size=10000")?)?;
        // Without Redis the second tier is in memory as well, and larger.
        let shared = redis.unwrap_or("local://tlfu?size=100000");
        cacheme.register_storage_lazy("shared", Storage::open(shared)?)?;
        cacheme.check()?;
        Ok(Self { cacheme, source })
    }
}
