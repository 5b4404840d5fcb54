//! The storages that keep their entries in a database, against real servers.

mod mysql;
mod postgres;
mod server;
mod sqlite;
