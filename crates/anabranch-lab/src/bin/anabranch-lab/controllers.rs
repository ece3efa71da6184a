//! `anabranch-lab --controllers`: compares the congestion controllers in a table.

use std::{
    fmt::Write as _,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anabranch_lab::controllers::{CONTROLLERS, Case, Figure, Goal, Length};

use anabranch_cli::{output, progress};

type Cell = Option<Vec<Figure>>;

pub(super) async fn run(seed: u64) -> anyhow::Result<ExitCode> {
    let cells = tokio::task::spawn_blocking(move || play(seed)).await?;
    output::line(table(&cells))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs every case with every controller, on as many threads as there are cores.
fn play(seed: u64) -> Vec<Cell> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = Case::ALL.len() * CONTROLLERS.len();
    let next = AtomicUsize::new(0);
    let cells = Mutex::new(vec![None; all]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= all {
                        break;
                    }
                    let case = Case::ALL[index / CONTROLLERS.len()];
                    let controller = CONTROLLERS[index % CONTROLLERS.len()];
                    let figures = case.run(controller, Length::Full, seed);
                    progress::say(format_args!("{}/{all} {case}: {controller}", index + 1));
                    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
                    cells[index] = Some(figures);
                }
            });
        }
    });
    cells.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the table in Markdown. Figures that miss their goal are bold.
fn table(cells: &[Cell]) -> String {
    let mut text = "| case | figure | goal |".to_owned();
    for controller in CONTROLLERS {
        let _ = write!(text, " {controller} |");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(CONTROLLERS.len()));
    for (case, cells) in Case::ALL.iter().zip(cells.chunks(CONTROLLERS.len())) {
        let figures = cells[0].as_ref().map_or(0, Vec::len);
        for index in 0..figures {
            let figure = |cell: &Cell| cell.as_ref().and_then(|cell| cell.get(index).cloned());
            let Some(first) = figure(&cells[0]) else {
                continue;
            };
            let name = match index {
                0 => case.to_string(),
                _ => String::new(),
            };
            let _ = write!(text, "\n| {name} | {} | {} |", first.name, goal(first.goal));
            for cell in cells {
                match figure(cell) {
                    Some(figure) if figure.holds() => {
                        let _ = write!(text, " {figure} |");
                    }
                    Some(figure) => {
                        let _ = write!(text, " **{figure}** |");
                    }
                    None => text.push_str(" – |"),
                }
            }
        }
    }
    text
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::AtMost(most) => format!("≤ {}", short(most)),
        Goal::AtLeast(least) => format!("≥ {}", short(least)),
        Goal::None => "–".to_owned(),
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}
