//! Pure but for one line: what a person is told of an error.

use std::process::ExitCode;

use crate::{output, progress};

/// Says why the program ends, and gives its exit code. A reader of our output that has gone is no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<output::Gone>() {
        return ExitCode::SUCCESS;
    }
    progress::say(format_args!("error: {}", sentence(error)));
    ExitCode::FAILURE
}

/// An error and its causes in one line. A cause whose words stand there already is not repeated.
pub fn sentence(error: &anyhow::Error) -> String {
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
