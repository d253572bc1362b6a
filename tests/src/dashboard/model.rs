//! `deploy/monitoring/dashboard.json`: as much of Grafana's format as we use.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The dashboard.
#[derive(Clone, Debug, Deserialize)]
pub struct Dashboard {
    /// Its panels, rows included, in their order.
    pub panels: Vec<Panel>,
}

/// A panel, or the title of a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// What it shows, such as `timeseries`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Where it is.
    pub grid_pos: Grid,
    /// What it asks; a row asks nothing.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How values are shown.
    #[serde(default)]
    pub field_config: FieldConfig,
}

/// A place on the grid, which has 24 columns.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Grid {
    /// First column.
    pub x: u32,
    /// First line.
    pub y: u32,
    /// Columns.
    pub w: u32,
    /// Lines.
    pub h: u32,
}

/// A question to Prometheus.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// In PromQL, with variables.
    pub expr: String,
    /// Name of a series, with its labels in `{{}}`.
    pub legend_format: String,
    /// Whether it is about a moment.
    #[serde(default)]
    pub instant: bool,
}

/// How values are shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct FieldConfig {
    /// For all of them.
    #[serde(default)]
    pub defaults: Defaults,
    /// For some of them.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// How the values of one series are shown.
#[derive(Clone, Debug, Deserialize)]
pub struct Override {
    /// Which.
    pub matcher: Matcher,
    /// How.
    pub properties: Vec<Property>,
}

/// A series by its name.
#[derive(Clone, Debug, Deserialize)]
pub struct Matcher {
    /// The name.
    pub options: String,
}

/// The colour of a series.
#[derive(Clone, Debug, Deserialize)]
pub struct Property {
    /// It.
    pub value: Colour,
}

/// A colour by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Colour {
    /// The name.
    pub fixed_color: String,
}

/// How all values of a panel are shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Defaults {
    /// Their unit.
    #[serde(default)]
    pub unit: String,
    /// Colours from certain values on.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Words for values.
    #[serde(default)]
    pub mappings: Vec<Mapping>,
}

/// Colours from certain values on.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Thresholds {
    /// Rising; the first has no value.
    pub steps: Vec<Step>,
}

/// A colour from a value on.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// From here on.
    pub value: Option<f64>,
    /// This colour.
    pub color: String,
}

/// Words for values.
#[derive(Clone, Debug, Deserialize)]
pub struct Mapping {
    /// By value.
    pub options: BTreeMap<String, Word>,
}

/// The word for a value.
#[derive(Clone, Debug, Deserialize)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Its colour.
    pub color: String,
}

/// What stands for the variables of Grafana.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// The time over which rates are taken, such as `30s`.
    pub rate_interval: &'a str,
    /// The time that is shown.
    pub range: &'a str,
}

impl Dashboard {
    /// Reads it.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", file.display()))
    }
}

impl FieldConfig {
    /// The colour of a series, where it has one of its own.
    #[must_use]
    pub fn colour(&self, series: &str) -> Option<&str> {
        let own = self.overrides.iter().find(|one| one.matcher.options == series)?;
        own.properties.first().map(|property| property.value.fixed_color.as_str())
    }
}

impl Target {
    /// The question for all nodes.
    #[must_use]
    pub fn query(&self, variables: Variables<'_>) -> String {
        let Variables { rate_interval, range } = variables;
        let values = [("$__rate_interval", rate_interval), ("$__range", range), ("$node", ".*")];
        values.iter().fold(self.expr.clone(), |text, (name, value)| text.replace(name, value))
    }

    /// The name of a series with these labels.
    #[must_use]
    pub fn legend(&self, labels: &BTreeMap<String, String>) -> String {
        labels.iter().fold(self.legend_format.clone(), |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_labels_are_put_in() {
        let target = Target {
            expr: "rate(a{instance=~\"$node\"}[$__rate_interval])".to_owned(),
            legend_format: "{{b}} of {{a}}".to_owned(),
            instant: false,
        };
        let variables = Variables { rate_interval: "30s", range: "1h" };
        assert_eq!(target.query(variables), "rate(a{instance=~\".*\"}[30s])");
        let labels = [("a", "x"), ("b", "y")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(target.legend(&labels.into()), "y of x");
    }
}
