//! Tests that measure: what runs beside them would be measured too. `make test` runs them alone, one by one; where
//! they run with the others, they take turns.

mod gauntlet;
mod harm;
mod scenarios;
mod stack;
