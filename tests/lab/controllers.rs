//! The rows of the congestion controllers' table, in short: ours holds them, and CUBIC shows that they can be failed.

use anabranch::lab::{
    Controller,
    controllers::{Length, Row},
};

fn holds(row: Row) {
    let figures = row.play(Controller::Thalweg, Length::Short, 1);
    for figure in &figures {
        assert!(figure.holds(), "{row}: {figure:?} in {figures:?}");
    }
}

#[test]
fn one_percent_of_losses_leaves_delivery_at_the_floor() {
    holds(Row::OnePercent);
}

#[test]
fn five_percent_of_losses_are_carried() {
    holds(Row::FivePercent);
}

#[test]
fn losses_do_not_slow_a_greedy_flow_down() {
    holds(Row::Greedy);
    let cubic = Row::Greedy.play(Controller::Cubic, Length::Short, 1);
    assert!(!cubic[2].holds(), "{cubic:?}");
}

#[test]
fn bursts_of_losses_are_no_congestion() {
    holds(Row::Bursts);
}

#[test]
fn a_policer_is_not_overrun() {
    holds(Row::Policer);
}

#[test]
fn four_of_a_kind_come_to_equal_shares() {
    holds(Row::Four);
}
