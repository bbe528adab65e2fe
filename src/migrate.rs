//! Moving a database into a PostgreSQL: from another PostgreSQL, or from a MySQL.
//!
//! Goes in: what a source's catalog holds, and what the configuration asks for. Comes out: the same tables, rows,
//! indexes and constraints in the target, and a report that names all that is not the same. Always holds: what is lost,
//! renamed or left out is told before the first row is moved; a row is either in the target once, or among the rejected
//! ones with its reason; the same source gives the same plan. It knows nothing of tuning the target.
//!
//! The words that all parts share are in [`schema`].

pub mod adjust;
pub mod adjuster;
pub mod brain;
mod build;
pub mod catalog;
pub mod comparison;
pub mod ddl;
pub mod metrics;
mod monitor;
mod mysql;
mod parts;
pub mod plan;
pub mod progress;
pub mod quote;
pub mod ranges;
pub mod run;
mod sampler;
pub mod schema;
pub mod selection;
pub mod state;
mod transfer;
pub mod types;
pub mod verify;
