//! The rows of the congestion controllers' table, in short: ours holds them, and CUBIC shows that they can be failed.

use anabranch_lab::{
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

#[test]
fn nine_tenths_of_the_link_arrive_without_a_queue() {
    holds(Row::Ninety);
}

#[test]
fn a_rate_that_falls_to_a_tenth_is_followed_within_ten_round_trips_and_back() {
    holds(Row::RateFalls);
}

#[test]
fn a_round_trip_that_rises_is_believed_and_one_that_falls_too() {
    holds(Row::RttRises);
}

#[test]
fn a_shallow_queue_is_not_overrun() {
    holds(Row::Shallow);
}

#[test]
fn beside_cubic_each_has_a_third_at_least() {
    holds(Row::BesideCubic);
}

#[test]
fn long_and_slow_paths_are_filled_too() {
    holds(Row::Sweep);
}
