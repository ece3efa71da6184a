//! The page of `--report`: the JSON of the comparison and its drawings, in one file that needs no network.

use std::{fs, path::Path};

use anabranch_lab as lab;
use anyhow::Context;

use super::json::Comparison;

const PAGE: &str = include_str!("report.html");
/// Placeholder of the data in the page.
const PLACEHOLDER: &str = "/*DATA*/[]";

/// Writes the page.
pub(crate) fn write(path: &Path, comparisons: &[lab::Comparison]) -> anyhow::Result<()> {
    let page = page(comparisons)?;
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn page(comparisons: &[lab::Comparison]) -> anyhow::Result<String> {
    let data: Vec<_> = comparisons.iter().map(Comparison::traced).collect();
    // In a script element, `</` would end it.
    let data = serde_json::to_string(&data)?.replace("</", "<\\/");
    Ok(PAGE.replacen(PLACEHOLDER, &data, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_place_for_its_data_and_fetches_nothing() {
        assert_eq!(PAGE.matches(PLACEHOLDER).count(), 1);
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_name_cannot_end_the_script() {
        let mut scenario = lab::Scenario::default();
        for (field, value) in [
            ("name", "</script><b>"),
            ("loss", "0%"),
            ("load", "100kbit"),
            ("duration", "200ms"),
            ("strategies", "1"),
        ] {
            scenario.set(field, value).unwrap();
        }
        let run = move || lab::compare(&scenario).unwrap();
        let comparison = std::thread::spawn(run).join().unwrap();
        let page = page(&[comparison]).unwrap();
        assert!(!page.contains("</script><b>"));
        assert!(page.contains("<\\/script><b>"));
    }
}
