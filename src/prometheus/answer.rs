//! Prometheus' JSON, read in one pass and into what is needed only: no tree in between, series past the cap skipped.

use super::SERIES_CAP;
use chrono::{DateTime, Utc};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The moment: that of the evaluation, unless the query asks for an older one.
    pub at: DateTime<Utc>,
    /// A finite number; NaN, ±Inf and histograms are no value.
    pub value: Option<f64>,
}

/// One series over a time, in order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Only the moments at which it had a sample.
    pub points: Vec<(DateTime<Utc>, Option<f64>)>,
}

/// The whole answer.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Envelope {
    pub(super) status: String,
    #[serde(default)]
    pub(super) data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
    #[serde(default)]
    pub(super) infos: Vec<String>,
}

impl Envelope {
    /// Whether Prometheus blames the query.
    pub(super) fn is_query_error(&self) -> bool {
        self.status == "error" && matches!(self.error_type.as_str(), "bad_data" | "execution")
    }
}

/// `data`: the result's type is told by the result itself.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Data {
    result: Items,
}

impl Data {
    /// How many series the answer had, also those that were skipped.
    pub(super) fn series_seen(&self) -> usize {
        self.result.seen
    }

    /// Of an instant query: a vector, or a scalar as one sample without labels.
    pub(super) fn into_samples(self) -> Vec<Sample> {
        if let [Item::Number(seconds), Item::Value(Value(value))] = self.result.kept.as_slice() {
            return vec![Sample { labels: BTreeMap::new(), at: moment(*seconds), value: *value }];
        }
        self.into_raw()
            .filter_map(|series| {
                let (at, value) = series.value.map(Point::parts).or_else(|| {
                    // A native histogram: a series that is there and has no number.
                    series.histogram.map(|(seconds, _)| (moment(seconds), None))
                })?;
                Some(Sample { labels: series.metric, at, value })
            })
            .collect()
    }

    /// Of a range query: a matrix.
    pub(super) fn into_series(self) -> Vec<RangeSeries> {
        self.into_raw()
            .map(|series| RangeSeries {
                labels: series.metric,
                points: series.values.into_iter().map(Point::parts).collect(),
            })
            .collect()
    }

    fn into_raw(self) -> impl Iterator<Item = RawSeries> {
        self.result.kept.into_iter().filter_map(|item| match item {
            Item::Series(series) => Some(*series),
            Item::Number(_) | Item::Value(_) => None,
        })
    }
}

/// The elements of `result`; past the cap they are counted, not kept.
#[derive(Debug)]
struct Items {
    kept: Vec<Item>,
    seen: usize,
}

/// A series (vector, matrix), or one half of a scalar's `[seconds, "value"]`.
#[derive(Debug)]
enum Item {
    Series(Box<RawSeries>),
    Number(f64),
    Value(Value),
}

#[derive(Debug, serde::Deserialize)]
struct RawSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    histogram: Option<(f64, IgnoredAny)>,
}

/// `[1700000000.042, "12.5"]`
#[derive(Debug, Clone, Copy, serde::Deserialize)]
struct Point(f64, Value);

impl Point {
    fn parts(self) -> (DateTime<Utc>, Option<f64>) {
        (moment(self.0), self.1.0)
    }
}

/// A number as text; `None` where it is not a finite one.
#[derive(Debug, Clone, Copy)]
struct Value(Option<f64>);

fn moment(seconds: f64) -> DateTime<Utc> {
    let ms = (seconds * 1000.0).round() as i64;
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of series")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Items, A::Error> {
                let mut items = Items { kept: Vec::new(), seen: 0 };
                while items.seen < SERIES_CAP {
                    let Some(item) = elements.next_element()? else { return Ok(items) };
                    items.kept.push(item);
                    items.seen += 1;
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    items.seen += 1;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series, a time or a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                RawSeries::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|series| Item::Series(Box::new(series)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Item, E> {
                Ok(Item::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Item, E> {
                Ok(Item::Number(number as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Value(Value(finite(text))))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(finite(text)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Data {
        serde_json::from_str::<Envelope>(json).unwrap().data.unwrap()
    }

    #[test]
    fn a_vector_keeps_its_labels_and_only_finite_values() {
        let samples = read(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"instance":"a"},"value":[1700000000.5,"1.5e3"]},
                {"metric":{},"value":[1700000000,"NaN"]},
                {"metric":{},"value":[1700000000,"+Inf"]},
                {"metric":{},"histogram":[1700000000,{"count":"3"}]}]}}"#,
        )
        .into_samples();
        let values: Vec<_> = samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [Some(1500.0), None, None, None]);
        assert_eq!(samples[0].labels["instance"], "a");
        assert_eq!(samples[0].at.timestamp_millis(), 1_700_000_000_500);
    }

    #[test]
    fn a_scalar_is_one_sample() {
        let data = r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.042,"2"]}}"#;
        let samples = read(data).into_samples();
        assert_eq!((samples.len(), samples[0].value), (1, Some(2.0)));
    }

    #[test]
    fn a_matrix_keeps_its_points() {
        let series = read(
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{},"values":[[1,"1"],[2,"-Inf"],[3.5,"3"]]}]}}"#,
        )
        .into_series();
        let values: Vec<_> = series[0].points.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [Some(1.0), None, Some(3.0)]);
    }

    #[test]
    fn series_past_the_cap_are_counted_and_not_kept() {
        let one = r#"{"metric":{"i":"1"},"value":[1,"1"]}"#;
        let many = vec![one; 10_000].join(",");
        let data = read(&format!(r#"{{"status":"success","data":{{"result":[{many}]}}}}"#));
        assert_eq!((data.series_seen(), data.result.kept.len()), (10_000, SERIES_CAP));
    }

    #[test]
    fn what_is_not_a_result_is_an_error() {
        for json in [
            r#"{"status":"success","data":{"result":{"a":1}}}"#,
            r#"{"status":"success","data":{"result":[{"value":[1,2]}]}}"#,
            r#"{"message":"hello"}"#,
        ] {
            assert!(serde_json::from_str::<Envelope>(json).is_err(), "{json}");
        }
    }
}
