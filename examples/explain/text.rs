//! An explanation for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use provider_core::lifecycle::Explanation;

use crate::Assumed;

/// How long ago, or how long from now.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (count, unit) = match seconds.abs() {
        0..120 => (seconds.abs(), "s"),
        120..7_200 => (seconds.abs() / 60, "min"),
        7_200..172_800 => (seconds.abs() / 3_600, "h"),
        _ => (seconds.abs() / 86_400, "d"),
    };
    match seconds >= 0 {
        true => format!("{count} {unit} ago"),
        false => format!("in {count} {unit}"),
    }
}

/// The attempts as a table; the newest is last, beside what is next.
fn history(explained: &Explanation, now: Timestamp) -> String {
    if explained.attempts.is_empty() {
        return "no attempts yet\n".to_owned();
    }
    let mut rows = vec![["attempt", "type", "state", "since", "job", "why"].map(str::to_owned)];
    for evidence in explained.attempts.iter().rev() {
        let alive = if evidence.live { " (may be live)" } else { "" };
        let why = [
            evidence.reason.as_deref().unwrap_or_default(),
            &evidence.message,
        ];
        let said: Vec<&str> = why.into_iter().filter(|part| !part.is_empty()).collect();
        let job = evidence.job.as_deref();
        let job = job.map(|job| job.trim_start_matches([' ', '/']));
        let since = evidence.since.map(|at| ago(at, now));
        rows.push([
            evidence.attempt.to_string(),
            evidence.job_type.to_string(),
            format!("{}{alive}", evidence.state),
            since.unwrap_or_else(|| "-".to_owned()),
            // Records of older operators name neither provider nor kind.
            job.unwrap_or("-").to_owned(),
            said.join(": "),
        ]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

pub(crate) fn of(explained: &Explanation, assumed: &Assumed, now: Timestamp) -> String {
    let mut text = format!("{}\n\n{}\n", explained.object, history(explained, now));
    let _ = writeln!(text, "next:     {}", explained.next);
    let _ = writeln!(text, "because:  {}", explained.because);
    if !explained.advice.is_empty() {
        let _ = writeln!(text, "advice:   {}", explained.advice);
    }
    if explained.escalated {
        text.push_str("notice:   this takes longer than the policy's escalateAfter\n");
    }
    for note in &assumed.notes {
        let _ = writeln!(text, "notice:   {note}");
    }
    let _ = match explained.wake_at {
        Some(at) if at <= now => writeln!(text, "wake-up:  now"),
        Some(at) => writeln!(text, "wake-up:  {} ({at})", ago(at, now)),
        None => writeln!(text, "wake-up:  when the object changes"),
    };
    let target = assumed.target.as_ref();
    let target = target.map_or_else(String::new, |target| format!(" for target {target}"));
    let _ = write!(
        text,
        "\nassumed:  version {}{target}, launched by {}; {}",
        assumed.version, assumed.provider, assumed.mode
    );
    if let Some(request) = &assumed.retry_request {
        let _ = write!(text, "; retry {request:?} was asked for");
    }
    for (name, words) in &assumed.backends {
        let _ = write!(text, "\n          {name}: {words}");
    }
    text
}
