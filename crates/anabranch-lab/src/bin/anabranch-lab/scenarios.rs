//! Files of scenarios.

use std::{fs, path::Path};

use anabranch_lab::Scenario;
use anyhow::{Context, bail};
use toml::{Table, Value};

/// Reads every `[[scenario]]` of a file. Keys above the first one apply to all.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Scenario>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a valid file of scenarios", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Scenario>> {
    let mut file: Table = text.parse()?;
    let Some(Value::Array(tables)) = file.remove("scenario") else {
        bail!("there is no [[scenario]]");
    };
    let mut common = Scenario::default();
    set(&mut common, &file)?;
    tables
        .iter()
        .enumerate()
        .map(|(index, table)| {
            let Value::Table(table) = table else {
                bail!("scenario {} is not a table", index + 1);
            };
            let mut scenario = common.clone();
            set(&mut scenario, table).with_context(|| format!("scenario {}", index + 1))?;
            Ok(scenario)
        })
        .collect()
}

fn set(scenario: &mut Scenario, table: &Table) -> anyhow::Result<()> {
    for (name, value) in table {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => bail!("{name}: must be text or a number"),
        };
        scenario.set(name, &text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_above_the_scenarios_holds_for_all_of_them() {
        let scenarios = parse(
            "rtt = '20ms'\n[[scenario]]\nname = 'a'\nloss = 0.01\n[[scenario]]\nname = 'b'\nrtt = '1ms'\nseed = 7\n",
        )
        .unwrap();
        let shown: Vec<_> = scenarios
            .iter()
            .map(|s| (s.name.as_str(), s.rtt.as_millis(), s.seed))
            .collect();
        assert_eq!(shown, [("a", 20, 1), ("b", 1, 7)]);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let said = |text| format!("{:#}", parse(text).unwrap_err());
        assert!(said("rtt = '1ms'").contains("no [[scenario]]"));
        assert!(
            said("[[scenario]]\nrtt = 'soon'")
                .contains("scenario 1: rtt = \"soon\": expected a duration")
        );
        assert!(said("[[scenario]]\nspeed = 1").contains("speed = \"1\": there is no such option"));
    }

    #[test]
    fn the_grid_of_the_repository_can_be_run() {
        let grid = read(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/scenarios/grid.toml"
        )));
        let grid = grid.unwrap();
        assert!(grid.len() >= 36, "{} scenarios", grid.len());
        for scenario in grid {
            scenario.check().unwrap();
        }
    }
}
