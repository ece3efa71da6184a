//! The `anabranch` program. All of it is in the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    anabranch_cli::main()
}
