//! A gauntlet's figures as an SVG: for each scenario a bar a strategy, as long as the levels were broken. Pure text.
//!
//! Filled: solved in every run; hollow: not. Readable on light and on dark backgrounds.

use super::summary::Line;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
/// Where bars begin, and how long the longest is; the rest is for its words.
const LEFT: f64 = 170.0;
const LONGEST: f64 = 300.0;
const TOP: f64 = 64.0;
const BAR: f64 = 13.0;
const STEP: f64 = 19.0;
const GAP: f64 = 16.0;

const STYLE: &str = "\
<style>
  .page { fill: #ffffff } text { fill: #222222 } .dim { fill: #555555 } .grid { stroke: #e5e5e5 }
  .solved { fill: #2458a6; stroke: #2458a6 } .not { fill: none; stroke: #c0392b } text.not { fill: #c0392b; stroke: none }
  @media (prefers-color-scheme: dark) {
    .page { fill: #16181c } text { fill: #e6e6e6 } .dim { fill: #a0a0a0 } .grid { stroke: #34373d }
    .solved { fill: #6fa3ef; stroke: #6fa3ef } .not { fill: none; stroke: #ef7b6c } text.not { fill: #ef7b6c; stroke: none }
  }
</style>";

/// The chart, with a line ending.
pub fn chart(lines: &[Line]) -> String {
    let outside = |line: &Line| line.outside_s.map_or(0.0, |outside| outside.median);
    let most = lines.iter().map(outside).fold(1.0, f64::max);
    let (tick, count) = ticks(most);
    let scale = LONGEST / (tick * f64::from(count));
    let scenarios = lines.chunk_by(|a, b| a.scenario == b.scenario).count();
    let height = TOP + STEP * lines.len() as f64 + GAP * scenarios as f64 + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n{STYLE}\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\">Seconds outside of the service levels (median); filled: solved, \
         hollow: not</text>\n"
    );
    for number in 0..=count {
        let seconds = tick * f64::from(number);
        let x = LEFT + seconds * scale;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{seconds} s</text>",
            TOP - 8.0,
            height - 20.0,
            TOP - 14.0
        );
    }
    let mut y = TOP;
    for group in lines.chunk_by(|a, b| a.scenario == b.scenario) {
        let name = group.first().map_or("", |line| line.scenario.as_str());
        let _ = writeln!(
            out,
            "<text x=\"16\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
            y + 10.0,
            escaped(name)
        );
        y += GAP;
        for line in group {
            bar(&mut out, line, y, outside(line) * scale);
            y += STEP;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, line: &Line, y: f64, length: f64) {
    let all = line.solved == line.runs && line.failed == 0 && line.runs > 0;
    let class = if all { "solved" } else { "not" };
    // A bar of nothing is still seen.
    let length = length.max(2.0);
    let _ = writeln!(
        out,
        "<text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\"/>\
         <text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" style=\"stroke: none\">{}</text>",
        LEFT - 8.0,
        y + 11.0,
        line.strategy,
        LEFT + length + 8.0,
        y + 11.0,
        escaped(&words(line))
    );
}

/// `2/3 solved, 2 (1–5) cycles, 60 s outside, 1 wrong lever kept`.
fn words(line: &Line) -> String {
    if line.runs == 0 {
        return format!("{} failed", line.failed);
    }
    let mut words = vec![format!("{}/{} solved", line.solved, line.runs)];
    if let Some(cycles) = line.cycles {
        words.push(format!("{cycles} {}", if cycles.to_string() == "1" { "cycle" } else { "cycles" }));
    }
    if let Some(outside) = line.outside_s {
        words.push(format!("{outside} s outside"));
    }
    if !line.wrong_kept.is_empty() {
        words.push(format!("{} wrong kept", line.wrong_kept.len()));
    }
    if line.failed > 0 {
        words.push(format!("{} failed", line.failed));
    }
    words.join(", ")
}

/// A round step and how many of them hold `most`: at least 2, at most 6.
fn ticks(most: f64) -> (f64, u32) {
    let mut tick = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if most <= tick * 6.0 {
            break;
        }
        tick *= factor;
    }
    (tick, ((most / tick).ceil() as u32).max(2))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::record::fixtures::{done, key, run};
    use super::super::record::{Outcome, Run};
    use super::super::strategies::Kind;
    use super::super::summary::summarise;
    use super::*;

    #[test]
    fn a_bar_a_strategy_hollow_where_it_is_not_solved() {
        let runs = [
            done(key("a<b", Kind::Leverd, 1), true, 1, 40.0),
            done(key("wal-storm", Kind::Leverd, 1), true, 1, 40.0),
            done(key("wal-storm", Kind::Playbook, 1), false, 5, 400.0),
            run(key("wal-storm", Kind::Random, 1), Outcome::Failed("no".to_owned())),
        ];
        let refs: Vec<&Run> = runs.iter().collect();
        let text = chart(&summarise(&refs));
        let bars: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("<rect class=\"").map(|(_, rest)| rest)).collect();
        insta::assert_snapshot!(bars.join("\n"), @r#"
        page" width="960" height="192"/>
        solved" x="170.0" y="80.0" width="30.0" height="13"/><text class="solved" x="208.0" y="91.0" style="stroke: none">1/1 solved, 1 cycle, 40 s outside</text>
        solved" x="170.0" y="115.0" width="30.0" height="13"/><text class="solved" x="208.0" y="126.0" style="stroke: none">1/1 solved, 1 cycle, 40 s outside</text>
        not" x="170.0" y="134.0" width="300.0" height="13"/><text class="not" x="478.0" y="145.0" style="stroke: none">0/1 solved, 5 cycles, 400 s outside</text>
        not" x="170.0" y="153.0" width="2.0" height="13"/><text class="not" x="180.0" y="164.0" style="stroke: none">1 failed</text>
        "#);
        assert!(text.contains("a&lt;b") && !text.contains("a<b"));
        assert!(text.contains("prefers-color-scheme: dark"));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.5), (1.0, 2));
        assert_eq!(ticks(6.0), (1.0, 6));
        assert_eq!(ticks(100.0), (20.0, 5));
        assert_eq!(ticks(400.0), (100.0, 4));
        assert_eq!(ticks(1300.0), (500.0, 3));
    }
}
