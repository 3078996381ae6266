//! Evidence: the host's pressure stall information (PSI) of processors, disks and memory.

use super::{Deadline, EvidenceTarget, Section};
use crate::sys::process;

/// From this share of the last ten seconds on, in percent, waiting for a resource is named in the summary.
const NOTABLE_PERCENT: f64 = 20.0;

pub(super) fn section(_target: &EvidenceTarget, _deadline: &Deadline) -> Section {
    render(&process::pressure())
}

fn render(pressure: &[(&'static str, String)]) -> Section {
    let notable: Vec<String> = pressure
        .iter()
        .filter_map(|(resource, text)| {
            let percent = avg10(text).filter(|percent| *percent >= NOTABLE_PERCENT)?;
            Some(format!("{resource} {percent:.0} %"))
        })
        .collect();
    let lines = pressure
        .iter()
        .flat_map(|(resource, text)| text.lines().map(move |line| format!("{resource} {line}")));
    Section {
        summary: (!notable.is_empty()).then(|| format!("pressure on {}", notable.join(", "))),
        lines: lines.collect(),
        facts: Vec::new(),
    }
}

/// Parses the share of the last ten seconds from "some avg10=0.38 avg60=1.36 avg300=2.20 total=30589176".
fn avg10(text: &str) -> Option<f64> {
    let (_, rest) = text.split_once("some avg10=")?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_only_pressure_above_the_bound() {
        let text_with = |percent: &str| format!("some avg10={percent} avg60=1.36\nfull avg10=0.00");
        let section = render(&[
            ("cpu", text_with("45.20")),
            ("io", text_with("19.99")),
            ("memory", "?".into()),
        ]);
        assert_eq!(section.summary.as_deref(), Some("pressure on cpu 45 %"));
        assert_eq!(section.lines.len(), 5);
        assert_eq!(section.lines[1], "cpu full avg10=0.00");
        assert_eq!(render(&[]), Section::default());
    }
}
