//! `anabranch lab --controllers`: what each congestion controller is worth, as a table.

use std::{
    fmt::Write as _,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anabranch_lab::controllers::{CONTROLLERS, Figure, Goal, Length, Row};

use anabranch_cli::{output, progress};

type Cell = Option<Vec<Figure>>;

pub(super) async fn run(seed: u64) -> anyhow::Result<ExitCode> {
    let cells = tokio::task::spawn_blocking(move || play(seed)).await?;
    output::line(table(&cells))?;
    Ok(ExitCode::SUCCESS)
}

/// Every row with every controller, on as many threads as there are cores.
fn play(seed: u64) -> Vec<Cell> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = Row::ALL.len() * CONTROLLERS.len();
    let next = AtomicUsize::new(0);
    let cells = Mutex::new(vec![None; all]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= all {
                        break;
                    }
                    let row = Row::ALL[place / CONTROLLERS.len()];
                    let controller = CONTROLLERS[place % CONTROLLERS.len()];
                    let figures = row.play(controller, Length::Full, seed);
                    progress::say(format_args!("{}/{all} {row}: {controller}", place + 1));
                    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
                    cells[place] = Some(figures);
                }
            });
        }
    });
    cells.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The table, in Markdown. What is not as is wanted stands in bold.
fn table(cells: &[Cell]) -> String {
    let mut text = "| row | figure | goal |".to_owned();
    for controller in CONTROLLERS {
        let _ = write!(text, " {controller} |");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(CONTROLLERS.len()));
    for (row, cells) in Row::ALL.iter().zip(cells.chunks(CONTROLLERS.len())) {
        let figures = cells[0].as_ref().map_or(0, Vec::len);
        for place in 0..figures {
            let figure = |cell: &Cell| cell.as_ref().and_then(|cell| cell.get(place).cloned());
            let Some(first) = figure(&cells[0]) else {
                continue;
            };
            let name = match place {
                0 => row.to_string(),
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
        Goal::Told => "–".to_owned(),
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}
