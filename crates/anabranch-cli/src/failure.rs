//! How an error is reported to the user.

use std::process::ExitCode;

use crate::{output::StdoutClosed, progress};

/// Prints why the command failed, and returns the exit code. A closed standard output is not a failure.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<StdoutClosed>() {
        return ExitCode::SUCCESS;
    }
    progress::error(sentence(error));
    ExitCode::FAILURE
}

/// Returns an error and its causes in one line, without causes whose text is already in the line.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain() {
        let words = cause.to_string().replace('\n', " ");
        if sentence.contains(&words) {
            continue;
        }
        if !sentence.is_empty() {
            sentence.push_str(": ");
        }
        sentence.push_str(&words);
    }
    sentence
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_follow_in_their_order_and_none_is_told_twice() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot read x: no such file")
            .context("cannot begin")
            .unwrap_err();
        assert_eq!(
            sentence(&error),
            "cannot begin: cannot read x: no such file"
        );
    }

    #[test]
    fn an_error_of_several_lines_is_told_in_one() {
        assert_eq!(sentence(&anyhow!("one\ntwo")), "one two");
    }
}
