//! OpenMetrics text as the older text format of Prometheus.
//!
//! They differ in three things that we write: a counter's family is named without `_total` in OpenMetrics,
//! units have a comment of their own, and the end is marked.

use std::collections::BTreeSet;

/// Rewrites what the library encoded.
pub(super) fn of_open_metrics(text: &str) -> String {
    let counters: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut rewritten = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|comment| {
            let (name, rest) = line.strip_prefix(comment)?.split_once(' ')?;
            counters.contains(name).then(|| format!("{comment}{name}_total {rest}"))
        });
        rewritten.push_str(comment.as_deref().unwrap_or(line));
        rewritten.push('\n');
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_and_only_help_and_type_are_kept() {
        let open_metrics = "# HELP nllb_runs Runs.\n# TYPE nllb_runs counter\nnllb_runs_total 3\n\
            # HELP nllb_age_seconds Age.\n# TYPE nllb_age_seconds gauge\n# UNIT nllb_age_seconds seconds\n\
            nllb_age_seconds{a=\"# EOF\"} 1.5\n# EOF\n";
        let text = "# HELP nllb_runs_total Runs.\n# TYPE nllb_runs_total counter\nnllb_runs_total 3\n\
            # HELP nllb_age_seconds Age.\n# TYPE nllb_age_seconds gauge\n\
            nllb_age_seconds{a=\"# EOF\"} 1.5\n";
        assert_eq!(of_open_metrics(open_metrics), text);
    }
}
