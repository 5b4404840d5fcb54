//! The database. It counts how often it is asked, which the tests look at.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

/// A user, as it is stored and cached.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct User {
    /// Its number.
    pub id: i64,
    /// The number of its organisation.
    pub org: i64,
    /// Its name.
    pub name: String,
    /// Its address.
    pub email: String,
}

/// The database of the service.
#[derive(Debug)]
pub struct Source {
    pool: SqlitePool,
    asked: AtomicU64,
}

type Result<T> = std::result::Result<T, sqlx::Error>;

const SCHEMA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, org INTEGER NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, org INTEGER NOT NULL, title TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS flags (name TEXT PRIMARY KEY, enabled INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO users VALUES (1, 1, 'Ann', 'ann@one.example'), (2, 1, 'Bob', 'bob@one.example'), (3, 2, 'Cy', 'cy@two.example')",
    "INSERT OR IGNORE INTO posts VALUES (1, 1, 'Hello'), (2, 1, 'News')",
    "INSERT OR IGNORE INTO flags VALUES ('beta', 1)",
];

/// Posts of a page.
const PAGE: u32 = 10;

impl Source {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        // One connection: each would have a database in memory of its own.
        let pool = SqlitePoolOptions::new().max_connections(1).connect(url).await?;
        for statement in SCHEMA {
            sqlx::query(*statement).execute(&pool).await?;
        }
        let asked = AtomicU64::new(0);
        Ok(Self { pool, asked })
    }

    /// How often the database was asked for something so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) -> &SqlitePool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        &self.pool
    }

    pub(crate) async fn users(&self, ids: &[i64]) -> Result<Vec<User>> {
        let marks = vec!["?"; ids.len()].join(", ");
        let text = format!("SELECT id, org, name, email FROM users WHERE id IN ({marks})");
        // Only question marks were put in.
        let query = sqlx::query_as::<_, (i64, i64, String, String)>(sqlx::AssertSqlSafe(text));
        let rows = ids
            .iter()
            .fold(query, |query, id| query.bind(*id))
            .fetch_all(self.ask())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, org, name, email)| User { id, org, name, email })
            .collect())
    }

    pub(crate) async fn id_of(&self, email: &str) -> Result<Option<i64>> {
        let query = sqlx::query_scalar("SELECT id FROM users WHERE email = ?");
        query.bind(email).fetch_optional(self.ask()).await
    }

    pub(crate) async fn members(&self, org: i64) -> Result<i64> {
        let query = sqlx::query_scalar("SELECT count(*) FROM users WHERE org = ?");
        query.bind(org).fetch_one(self.ask()).await
    }

    pub(crate) async fn posts(&self, org: i64, page: u32) -> Result<Vec<String>> {
        let query =
            sqlx::query_scalar("SELECT title FROM posts WHERE org = ? ORDER BY id DESC LIMIT ? OFFSET ?");
        query
            .bind(org)
            .bind(PAGE)
            .bind(page * PAGE)
            .fetch_all(self.ask())
            .await
    }

    pub(crate) async fn flag(&self, name: &str) -> Result<bool> {
        let query = sqlx::query_scalar("SELECT enabled FROM flags WHERE name = ?");
        let enabled: Option<bool> = query.bind(name).fetch_optional(self.ask()).await?;
        Ok(enabled.unwrap_or(false))
    }

    /// Whether there is such a user.
    pub(crate) async fn rename(&self, id: i64, name: &str) -> Result<bool> {
        let query = sqlx::query("UPDATE users SET name = ? WHERE id = ?");
        let done = query.bind(name).bind(id).execute(self.ask()).await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn add_user(&self, org: i64, name: &str, email: &str) -> Result<User> {
        let query = sqlx::query_scalar("INSERT INTO users (org, name, email) VALUES (?, ?, ?) RETURNING id");
        let id = query
            .bind(org)
            .bind(name)
            .bind(email)
            .fetch_one(self.ask())
            .await?;
        let (name, email) = (name.to_owned(), email.to_owned());
        Ok(User { id, org, name, email })
    }

    /// Adds posts, all of them or none.
    pub(crate) async fn add_posts(&self, posts: &[(i64, String)]) -> Result<()> {
        let mut transaction = self.ask().begin().await?;
        for (org, title) in posts {
            let query = sqlx::query("INSERT INTO posts (org, title) VALUES (?, ?)");
            query.bind(org).bind(title).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    pub(crate) async fn set_flag(&self, name: &str, enabled: bool) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO flags VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled",
        );
        query.bind(name).bind(enabled).execute(self.ask()).await.map(drop)
    }
}
