//! leverd keeps a PostgreSQL inside its service levels: it pulls the cheapest lever that could help, proves on
//! live measurements that it helped, and puts it back when it did not.
//!
//! The rooms, in the order in which data flows. What each may import is checked by `tests/integration/house.rs`
//! and explained in `docs/ARCHITECTURE.md`.

pub mod model;

pub mod config;
pub mod docker;
pub mod postgres;
pub mod prometheus;

pub mod observe;

pub mod decide;
pub mod judge;
pub mod trial;

pub mod actuate;
pub mod announce;
pub mod ledger;

pub mod exporter;
pub mod migrate;
pub mod sandbox;

pub mod gauntlet;

pub mod api;
pub mod cli;
pub mod daemon;
