//! Checks calendar events (`calendar_spec_from_string`, src/shared/calendarspec.c).

use super::number::scan;

/// One number of a list, and the step by which it repeats.
type Component = (i64, i64);

const NAMES: [&str; 13] = [
    "minutely",
    "hourly",
    "daily",
    "monthly",
    "annually",
    "yearly",
    "anually",
    "weekly",
    "quarterly",
    "biannually",
    "bi-annually",
    "semiannually",
    "semi-annually",
];

const DAYS: [(&str, &str); 7] = [
    ("monday", "mon"),
    ("tuesday", "tue"),
    ("wednesday", "wed"),
    ("thursday", "thu"),
    ("friday", "fri"),
    ("saturday", "sat"),
    ("sunday", "sun"),
];

/// Returns whether systemd 219 accepts a string as a calendar event.
pub(in crate::check) fn is_calendar(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    NAMES.contains(&lower.as_str()) || parse(&lower).is_some()
}

fn parse(text: &str) -> Option<()> {
    if text.is_empty() {
        return None;
    }
    let text = weekdays(text)?;
    let text = date(text)?;
    time(text)
}

/// Returns the text that follows the days of the week. A range must not extend past Sunday.
fn weekdays(text: &str) -> Option<&str> {
    let (mut rest, mut from) = (text, None);
    loop {
        let first = rest.len() == text.len();
        if !first && rest.starts_with(' ') {
            // No day follows the `,` or `-`. Like systemd, keep the blank before the date.
            return Some(rest);
        }
        let day = DAYS
            .iter()
            .position(|(long, short)| rest.starts_with(long) || rest.starts_with(short));
        let Some(day) = day else {
            return first.then_some(rest);
        };
        let (long, short) = DAYS[day];
        let behind = rest
            .strip_prefix(long)
            .or_else(|| rest.strip_prefix(short))?;
        if !behind.is_empty() && !behind.starts_with(['-', ',', ' '])
            || from.is_some_and(|from| from > day)
        {
            return None;
        }
        let Some(separator) = behind.chars().next() else {
            return Some("");
        };
        if separator == ' ' {
            return Some(behind.trim_start_matches(' '));
        }
        if separator == '-' && from.is_some() {
            return None;
        }
        from = (separator == '-').then_some(day);
        rest = &behind[1..];
    }
}

/// Reads a list of numbers, each with an optional step, or `*` for any number. Returns the
/// list, and the text after the list.
fn chain(text: &str) -> Option<(Vec<Component>, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some((Vec::new(), rest));
    }
    let (mut components, mut rest) = (Vec::new(), text);
    loop {
        // systemd calls strtoul, but the number must fit into an int.
        let number = |text| {
            let scan = scan(text, 10)?;
            Some((
                i64::from(i32::try_from(scan.unsigned()?.cast_signed()).ok()?),
                scan.rest,
            ))
        };
        let (value, behind) = number(rest)?;
        let (step, behind) = match behind.strip_prefix('/') {
            Some(step) => number(step).filter(|(step, _)| *step != 0)?,
            None => (0, behind),
        };
        if !behind.is_empty() && !behind.starts_with([' ', ',', '-', ':']) {
            return None;
        }
        components.push((value, step));
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some((components, behind)),
        }
    }
}

fn within(components: &[Component], low: i64, high: i64) -> Option<()> {
    components
        .iter()
        .all(|(value, step)| (low..=high).contains(value) && value + step <= high)
        .then_some(())
}

/// Returns the text that follows the date. Returns the whole text if it begins with a time instead.
fn date(text: &str) -> Option<&str> {
    if text.is_empty() {
        return Some(text);
    }
    let (first, rest) = chain(text)?;
    // The text is a time, not a date.
    if rest.is_empty() || rest.starts_with(':') {
        return Some(text);
    }
    let (second, rest) = chain(rest.strip_prefix('-')?)?;
    if rest.is_empty() || rest.starts_with(' ') {
        within(&first, 1, 12)?;
        within(&second, 1, 31)?;
        return Some(rest.trim_start_matches(' '));
    }
    let (third, rest) = chain(rest.strip_prefix('-')?)?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let full_year = |(year, step): &Component| match year {
        0..70 => (year + 2000, *step),
        70..100 => (year + 1900, *step),
        _ => (*year, *step),
    };
    within(&first.iter().map(full_year).collect::<Vec<_>>(), 1970, 2199)?;
    within(&second, 1, 12)?;
    within(&third, 1, 31)?;
    Some(rest.trim_start_matches(' '))
}

fn time(text: &str) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    let (hours, rest) = chain(text)?;
    within(&hours, 0, 23)?;
    let (minutes, rest) = chain(rest.strip_prefix(':')?)?;
    within(&minutes, 0, 59)?;
    if rest.is_empty() {
        return Some(());
    }
    let (seconds, rest) = chain(rest.strip_prefix(':')?)?;
    within(&seconds, 0, 59)?;
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_events_are_read_as_systemd_219_reads_them() {
        for text in [
            "daily",
            "Weekly",
            "Mon",
            "Mon-Fri 10:00",
            "mon,wed-fri *-*-* 02:30:00",
            "*:0/15",
            "00/6:00:00",
            "*-*-1",
            "12-25",
            "2015-1,7-1 10:00",
            "15-1-1",
            "*:*:0/30",
            "Sunday",
            "Mon *-*-* 10:00",
        ] {
            assert!(is_calendar(text), "{text}");
        }
        for text in [
            "",
            "25:00",
            "*-*-* 25:00",
            "10:00 UTC",
            "daily UTC",
            "Mon..Fri 10:00",
            "*-*-* 02:30:00.5",
            "10",
            "*:0/60",
            "Fri-Mon",
            "Mo",
            "*-*~1",
            "13-1",
            "2200-1-1",
            "@123",
            "10:00:00:00",
            "5m",
            "*-*-* 10:00 Europe/Berlin",
        ] {
            assert!(!is_calendar(text), "{text}");
        }
    }
}
