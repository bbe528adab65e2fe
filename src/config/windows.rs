//! Maintenance windows: `Sat 02:00-04:00`, `Mon-Fri 01:30-05:00`, `22:00-06:00`.
//!
//! A window that ends before it begins goes past midnight and belongs to the day on which it began.

use std::fmt;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u32 = 24 * 60;

/// One window of every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// As it was written.
    text: String,
    /// The days on which it begins, Monday first.
    days: [bool; 7],
    /// Minutes of the day.
    from: u32,
    to: u32,
}

impl Window {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (first, second) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        let (days, times) = match second {
            Some(times) => (days(first)?, times),
            None => ([true; 7], first),
        };
        let (from, to) = times.split_once('-')?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        (from != to).then(|| Self { text: text.trim().to_owned(), days, from, to })
    }

    /// Whether it is open at a minute of a weekday, Monday being 0.
    pub fn is_open(&self, weekday: u32, minute: u32) -> bool {
        let on = |weekday: u32| self.days[(weekday % 7) as usize];
        if self.from < self.to {
            return on(weekday) && (self.from..self.to).contains(&minute);
        }
        (on(weekday) && minute >= self.from) || (on(weekday + 6) && minute < self.to)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn days(text: &str) -> Option<[bool; 7]> {
    let day = |text: &str| DAYS.iter().position(|day| text.trim().eq_ignore_ascii_case(day));
    let mut all = [false; 7];
    for part in text.split(',') {
        match part.split_once('-') {
            None => all[day(part)?] = true,
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                for step in 0..=(last + 7 - first) % 7 {
                    all[(first + step) % 7] = true;
                }
            }
        }
    }
    Some(all)
}

fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= MINUTES_A_DAY).then_some(all % MINUTES_A_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, weekday: u32, time: &str) -> bool {
        Window::parse(text).unwrap().is_open(weekday, minutes(time).unwrap())
    }

    #[test]
    fn days_and_nights() {
        assert!(open("Sat 02:00-04:00", 5, "02:00"));
        assert!(!open("Sat 02:00-04:00", 5, "04:00"));
        assert!(!open("Sat 02:00-04:00", 6, "03:00"));
        assert!(open("fri-mon 02:00-04:00", 0, "03:59"), "a week goes round");
        assert!(!open("fri-mon 02:00-04:00", 2, "03:00"));
        assert!(open("22:00-06:00", 3, "05:59") && open("22:00-06:00", 3, "22:00"));
        assert!(open("Sun 22:00-06:00", 0, "05:00"), "it began on Sunday");
        assert!(!open("Sun 22:00-06:00", 6, "05:00"));
        assert!(open("Mon,Wed 20:00-24:00", 2, "23:59"));
    }

    #[test]
    fn what_is_no_window() {
        for text in
            ["", "Sat", "2:00-4:00", "02:00-02:00", "25:00-26:00", "Sam 02:00-04:00", "Sat 02:00-04:00 UTC"]
        {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }
}
