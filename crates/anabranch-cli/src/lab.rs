//! `anabranch lab`: runs the laboratory, which is a program of its own.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

/// The laboratory's program.
const PROGRAM: &str = "anabranch-lab";

/// Try a link before you deploy on it: producer and broker over a simulated network, in virtual time.
///
/// This runs the program `anabranch-lab` with the same arguments. It is looked for beside this program, then in PATH.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of `anabranch-lab`; `anabranch lab --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the laboratory and returns its exit code.
///
/// # Errors
/// When there is no such program, or it does not start.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().ok();
    let program = program(this.as_deref());
    let status = match Command::new(&program).args(args.arguments).status() {
        Ok(status) => status,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "the laboratory is a program of its own, and {PROGRAM} is neither beside this one nor in PATH: cargo install {PROGRAM}"
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot start {}", program.display()));
        }
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns the laboratory's program beside `this` one, or its bare name, which is looked for in PATH.
fn program(this: Option<&Path>) -> PathBuf {
    let beside = this.and_then(Path::parent).map(|folder| {
        folder
            .join(PROGRAM)
            .with_extension(std::env::consts::EXE_EXTENSION)
    });
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PROGRAM.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laboratory_beside_this_program_goes_before_that_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let this = folder.path().join("anabranch");
        assert_eq!(program(Some(&this)), Path::new(PROGRAM));
        assert_eq!(program(None), Path::new(PROGRAM));
        let beside = folder.path().join(PROGRAM);
        std::fs::write(&beside, "").unwrap();
        assert_eq!(program(Some(&this)), beside);
    }
}
