//! Tells the program from which commit it is built.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let commit = from_git().or_else(from_package);
    println!(
        "cargo:rustc-env=ANABRANCH_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

/// Returns the commit of the checkout that this package is in.
fn from_git() -> Option<String> {
    // A checkout of another project, around an unpacked source archive, says nothing.
    let package = git(&["ls-files", "Cargo.toml"])?;
    if package.is_empty() {
        return None;
    }
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Returns the commit that `cargo package` wrote down.
fn from_package() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\": \"")?;
    rest.get(..12).map(Into::into)
}
