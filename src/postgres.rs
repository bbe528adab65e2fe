//! A thin client for PostgreSQL: connecting, and reading what the server says of itself. It knows nothing of tuning.
//!
//! Always holds: one connection, with timeouts for connecting, statements and locks; no error shows a password.

mod connect;
pub mod pgbouncer;
pub mod server;
pub mod settings;
pub mod stats;

pub use connect::{Connection, PostgresError, connect, connect_for_work, connect_to_load};
