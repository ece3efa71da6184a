//! The laboratory says what the limit is.

use super::process::{command, run};

#[test]
fn a_controller_that_is_the_limit_is_named_with_the_one_to_try() {
    let table = |congestion: &str| {
        let mut lab = command(env!("CARGO_BIN_EXE_anabranch-lab"));
        lab.args(["--loss", "1%", "--load", "20%", "--duration", "2s"]);
        lab.args(["--strategies", "1,adaptive", "--congestion", congestion]);
        String::from_utf8(run(&mut lab).expect_code(0).stdout).unwrap()
    };
    let sentence = "The congestion controller is the limit, not the number of lanes";
    let cubic = table("cubic");
    assert!(
        cubic.contains(sentence) && cubic.contains("--congestion thalweg"),
        "{cubic}"
    );
    let thalweg = table("thalweg");
    assert!(!thalweg.contains(sentence), "{thalweg}");
}
