//! What tests on real parts share.

pub(crate) mod alertmanager;
pub(crate) mod change;
pub(crate) mod config;
pub(crate) mod docker;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod leverd;
pub(crate) mod mariadb;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod rig;
pub(crate) mod scrape;
pub(crate) mod turn;
