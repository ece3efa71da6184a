//! `anabranch lab`: runs the program `anabranch-lab`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

/// Name of the laboratory's program.
const PROGRAM: &str = "anabranch-lab";

/// Compare numbers of lanes on a given link: a real producer and broker over a simulated network, in virtual time.
///
/// Runs the program `anabranch-lab` with the same arguments. It is looked for in the directory of this program, then in
/// PATH. `anabranch lab soak` keeps a broker, a producer and a consumer under load for hours, in real time.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of `anabranch-lab`; `anabranch lab --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the laboratory, and returns its exit code.
///
/// # Errors
/// When the program is not found or does not start.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().ok();
    let program = program(this.as_deref());
    let status = match Command::new(&program).args(args.arguments).status() {
        Ok(status) => status,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "cannot find the program {PROGRAM}, neither in the directory of this one nor in PATH: cargo install {PROGRAM}"
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot start {}", program.display()));
        }
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns the laboratory's program in the directory of `this` program, or its bare name, which is looked for in PATH.
fn program(this: Option<&Path>) -> PathBuf {
    let sibling = this.and_then(Path::parent).map(|folder| {
        folder
            .join(PROGRAM)
            .with_extension(std::env::consts::EXE_EXTENSION)
    });
    sibling
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
        let sibling = folder.path().join(PROGRAM);
        std::fs::write(&sibling, "").unwrap();
        assert_eq!(program(Some(&this)), sibling);
    }
}
