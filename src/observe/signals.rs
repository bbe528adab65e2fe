//! A signal's queries → one reading, or one value a scrape.
//!
//! The queries of a signal are alternatives in order of preference; the first that gives a number wins. Where a
//! query answers with several series, the worst one counts (the largest where lower is better): a bound holds for
//! every instance or not at all. Offered load is summed instead. An empty answer, NaN or a stale series is unknown.

use crate::config::LoadSignal;
use crate::model::{Direction, Reading, Signal};
use crate::prometheus::{Client, PrometheusError, RangeSeries, Sample, duration_text};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Points asked for at once: well below Prometheus' limit, and a few hundred kB.
const POINTS_AT_ONCE: i64 = 5000;

/// One value a step of one signal; the same step index is the same moment in every series of the same span.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleSeries {
    /// The query that answered, its window filled in; the preferred one where nothing did.
    pub query: String,
    /// In order of time; `None` is a step without a value.
    pub values: Vec<Option<f64>>,
    /// Why there is no value at all, for people; `None` where there is one.
    pub why_empty: Option<String>,
}

/// How several series become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// The worst one.
    Worst(Direction),
    /// All of them together.
    Sum,
}

impl Reduce {
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Worst(Direction::LowerIsBetter) => a.max(b),
            Self::Worst(Direction::HigherIsBetter) => a.min(b),
            Self::Sum => a + b,
        }
    }
}

/// The moments of a span: multiples of `step` since 1970, so that every series of the span has the same ones.
///
/// The first is two steps after `from`: the rate window of a sample is two steps long, and no sample may hold
/// anything from before `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    first_ms: i64,
    step_ms: i64,
    points: i64,
}

impl Grid {
    /// The moments inside of `from..=to`.
    pub fn within(from: DateTime<Utc>, to: DateTime<Utc>, step: Duration) -> Self {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let earliest = from.timestamp_millis().saturating_add(step_ms.saturating_mul(2));
        let first_ms = align_up(earliest, step_ms);
        let points = (to.timestamp_millis() - first_ms).div_euclid(step_ms) + 1;
        Self { first_ms, step_ms, points: points.max(0) }
    }

    /// The last `points` moments a step apart that end at `to` itself, and none that is not after `since`. For the
    /// newest samples: the multiples of a step would be up to a step old.
    pub fn ending_at(to: DateTime<Utc>, step: Duration, points: usize, since: DateTime<Utc>) -> Self {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let (to_ms, since_ms) = (to.timestamp_millis(), since.timestamp_millis());
        let room = (to_ms - since_ms - 1).div_euclid(step_ms) + 1;
        let points = i64::try_from(points).unwrap_or(i64::MAX).min(room).max(0);
        Self { first_ms: to_ms - (points - 1).max(0).saturating_mul(step_ms), step_ms, points }
    }

    /// How many moments there are.
    pub fn points(&self) -> usize {
        usize::try_from(self.points).unwrap_or_default()
    }

    fn moment(&self, index: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.first_ms + index * self.step_ms).unwrap_or_default()
    }

    fn index(&self, at: DateTime<Utc>) -> Option<usize> {
        let past = at.timestamp_millis() - self.first_ms;
        // Prometheus keeps milliseconds, so a point is on the grid or it is not ours.
        (past >= 0 && past % self.step_ms == 0).then_some(past / self.step_ms)?.try_into().ok()
    }

    /// The moments in spans that one query may answer: (first, last) by index.
    fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let points = self.points;
        (0..points)
            .step_by(usize::try_from(POINTS_AT_ONCE).expect("a small constant"))
            .map(move |first| (first, (first + POINTS_AT_ONCE).min(points) - 1))
    }
}

/// Reads a signal at one moment, its rate window being `window`. Never an error: what is wrong is the reading's
/// reason, query by query.
pub async fn read_signal(client: &Client, signal: &Signal, window: Duration, at: DateTime<Utc>) -> Reading {
    let read = try_read(client, signal, window, at).await;
    read.unwrap_or_else(|error| Reading::Unknown { reason: error.to_string() })
}

/// The same; an error is one that every other query would meet too, after a timeout each.
pub(super) async fn try_read(
    client: &Client,
    signal: &Signal,
    window: Duration,
    at: DateTime<Utc>,
) -> Result<Reading, PrometheusError> {
    let mut reasons = Reasons::default();
    for template in &signal.queries {
        let query = fill(template, window);
        match client.query(&query, at).await {
            Ok(samples) => match one_of(&samples, Reduce::Worst(signal.direction)) {
                Some((value, at)) => return Ok(Reading::Known { value, at, query }),
                None => reasons.add(&query, emptiness(samples.is_empty())),
            },
            Err(error) if error.is_about_the_query() => reasons.add_error(&error),
            Err(error) => return Err(error),
        }
    }
    Ok(Reading::Unknown { reason: reasons.into_text() })
}

/// Asks one query as it is; several series are reduced to the largest. Never an error: what is wrong is the reading's
/// reason.
pub async fn ask(client: &Client, query: &str, at: DateTime<Utc>) -> Reading {
    let unknown = |reason: String| Reading::Unknown { reason };
    match client.query(query, at).await {
        Ok(samples) => match one_of(&samples, Reduce::Worst(Direction::LowerIsBetter)) {
            Some((value, at)) => Reading::Known { value, at, query: query.to_owned() },
            None => unknown(emptiness(samples.is_empty()).to_owned()),
        },
        Err(error) => unknown(error.to_string()),
    }
}

/// Samples a signal for a verdict: one value a scrape, rates over twice the step so that each is about one scrape's
/// worth. `prefer` is the query of an earlier series of the same trial: then only that one is asked, so that both
/// sides measure the same thing.
pub async fn samples(
    client: &Client,
    signal: &Signal,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: Duration,
    prefer: Option<&str>,
) -> Result<SampleSeries, PrometheusError> {
    let grid = Grid::within(from, to, step);
    samples_on(client, &signal.queries, Reduce::Worst(signal.direction), grid, step * 2, prefer).await
}

/// Samples the offered load on the same moments as [`samples`]; several series are summed.
pub async fn load_samples(
    client: &Client,
    load: &LoadSignal,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: Duration,
    prefer: Option<&str>,
) -> Result<SampleSeries, PrometheusError> {
    let grid = Grid::within(from, to, step);
    samples_on(client, &load.queries, Reduce::Sum, grid, step * 2, prefer).await
}

/// Samples `templates` on a grid, their window filled in as `window`.
pub async fn samples_on(
    client: &Client,
    templates: &[String],
    reduce: Reduce,
    grid: Grid,
    window: Duration,
    prefer: Option<&str>,
) -> Result<SampleSeries, PrometheusError> {
    let mut queries: Vec<String> = templates.iter().map(|template| fill(template, window)).collect();
    if let Some(index) = queries.iter().position(|query| prefer == Some(query)) {
        queries = vec![queries.swap_remove(index)];
    }
    let mut reasons = Reasons::default();
    for query in &queries {
        let (values, no_series) = match values_on(client, query, reduce, grid).await {
            Ok(found) => found,
            Err(error) if error.is_about_the_query() => {
                reasons.add_error(&error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if values.iter().any(Option::is_some) {
            return Ok(SampleSeries { query: query.clone(), values, why_empty: None });
        }
        reasons.add(query, emptiness(no_series));
    }
    let query = queries.into_iter().next().unwrap_or_default();
    let values = vec![None; grid.points()];
    Ok(SampleSeries { query, values, why_empty: Some(reasons.into_text()) })
}

/// The values of one query, and whether no series answered it.
async fn values_on(
    client: &Client,
    query: &str,
    reduce: Reduce,
    grid: Grid,
) -> Result<(Vec<Option<f64>>, bool), PrometheusError> {
    let mut values = vec![None; grid.points()];
    let mut no_series = true;
    let step = Duration::from_millis(grid.step_ms.unsigned_abs());
    for (first, last) in grid.spans() {
        let series = client.query_range(query, grid.moment(first), grid.moment(last), step).await?;
        no_series &= series.is_empty();
        lay(&series, reduce, grid, &mut values);
    }
    Ok((values, no_series))
}

/// Puts each point of each series at its place.
fn lay(series: &[RangeSeries], reduce: Reduce, grid: Grid, values: &mut [Option<f64>]) {
    for (at, value) in series.iter().flat_map(|one| &one.points) {
        let (Some(value), Some(index)) = (value, grid.index(*at)) else { continue };
        if let Some(slot) = values.get_mut(index) {
            *slot = Some(slot.map_or(*value, |other| reduce.join(other, *value)));
        }
    }
}

/// One number of an instant answer, and its sample's time.
fn one_of(samples: &[Sample], reduce: Reduce) -> Option<(f64, DateTime<Utc>)> {
    samples
        .iter()
        .filter_map(|sample| Some((sample.value?, sample.at)))
        .reduce(|(a, a_at), (b, b_at)| (reduce.join(a, b), a_at.max(b_at)))
}

/// Fills the window in; blanks inside the braces are the user's taste.
fn fill(template: &str, window: Duration) -> String {
    let text = duration_text(window);
    template.replace("{{window}}", &text).replace("{{ window }}", &text)
}

fn align_up(ms: i64, step_ms: i64) -> i64 {
    ms.div_euclid(step_ms).saturating_add(i64::from(ms.rem_euclid(step_ms) != 0)).saturating_mul(step_ms)
}

fn emptiness(no_series: bool) -> &'static str {
    if no_series { "no series" } else { "not a number" }
}

/// Why each query gave nothing, in order.
#[derive(Debug, Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn add(&mut self, query: &str, why: &str) {
        self.0.push(format!("`{query}`: {why}"));
    }

    fn add_error(&mut self, error: &PrometheusError) {
        self.0.push(error.to_string());
    }

    fn into_text(self) -> String {
        if self.0.is_empty() { "the signal has no query".to_owned() } else { self.0.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    fn series(points: &[(i64, Option<f64>)]) -> RangeSeries {
        let points = points.iter().map(|(ms, value)| (at(*ms), *value)).collect();
        RangeSeries { labels: BTreeMap::new(), points }
    }

    #[test]
    fn every_series_of_a_span_has_the_same_moments() {
        let step = Duration::from_secs(5);
        let grid = Grid::within(at(1_000_001), at(1_030_000), step);
        assert_eq!((grid.first_ms, grid.points()), (1_015_000, 4));
        assert_eq!(grid.index(at(1_020_000)), Some(1));
        assert_eq!(grid.index(at(1_020_001)), None);
        assert_eq!(Grid::within(at(1_000_000), at(1_009_999), step).points(), 0);
        assert_eq!(Grid::within(at(1_000_000), at(1_010_000), step).points(), 1);
        assert_eq!(Grid::within(at(2_000_000), at(1_000_000), step).points(), 0);
    }

    #[test]
    fn the_newest_moments_end_now_and_hold_nothing_from_before() {
        let step = Duration::from_secs(1);
        let grid = Grid::ending_at(at(10_300), step, 3, at(1_000));
        assert_eq!((grid.first_ms, grid.points()), (8_300, 3));
        assert_eq!(Grid::ending_at(at(10_300), step, 3, at(8_300)).points(), 2);
        assert_eq!(Grid::ending_at(at(10_300), step, 3, at(8_299)).points(), 3);
        assert_eq!(Grid::ending_at(at(10_300), step, 3, at(10_300)).points(), 0);
        assert_eq!(Grid::ending_at(at(10_300), step, 3, at(20_000)).points(), 0);
    }

    #[test]
    fn a_long_span_is_asked_in_parts() {
        let grid = Grid { first_ms: 0, step_ms: 1000, points: 12_001 };
        assert_eq!(grid.spans().collect::<Vec<_>>(), [(0, 4999), (5000, 9999), (10_000, 12_000)]);
        assert_eq!(Grid { points: 0, ..grid }.spans().count(), 0);
    }

    #[test]
    fn the_worst_of_several_series_counts_and_holes_stay() {
        let grid = Grid { first_ms: 0, step_ms: 1000, points: 4 };
        let a = series(&[(0, Some(1.0)), (1000, None), (3000, Some(9.0))]);
        let b = series(&[(0, Some(2.0)), (3000, Some(4.0)), (9000, Some(1.0))]);
        let mut values = vec![None; 4];
        let all = [a, b];
        lay(&all, Reduce::Worst(Direction::LowerIsBetter), grid, &mut values);
        assert_eq!(values, [Some(2.0), None, None, Some(9.0)]);
        let mut values = vec![None; 4];
        lay(&all, Reduce::Worst(Direction::HigherIsBetter), grid, &mut values);
        assert_eq!(values, [Some(1.0), None, None, Some(4.0)]);
        let mut values = vec![None; 4];
        lay(&all, Reduce::Sum, grid, &mut values);
        assert_eq!(values, [Some(3.0), None, None, Some(13.0)]);
    }

    #[test]
    fn windows_are_filled_in() {
        let window = Duration::from_millis(1500);
        assert_eq!(
            fill("rate(x[{{window}}]) / rate(y[{{ window }}])", window),
            "rate(x[1500ms]) / rate(y[1500ms])"
        );
    }
}
