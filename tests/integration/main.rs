//! Tests on real parts, one binary. Each module is one subject.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actuate;
mod alerts;
mod announce;
mod api;
mod approval;
mod cli;
mod config;
mod crash;
mod daemon;
mod dashboards;
mod docker;
mod exporter;
mod faults;
mod house;
mod ledger;
mod measured;
mod migrate;
mod monitoring_files;
mod observe;
mod packaging;
mod pgbouncer;
mod postgres_client;
mod postgres_server;
mod postgres_versions;
mod prometheus;
mod sandbox;
#[allow(dead_code, reason = "each subject uses its part")]
mod support;
mod target;
mod trial;
