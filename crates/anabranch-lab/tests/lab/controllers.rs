//! Short runs of the congestion controllers' cases: Thalweg reaches the goals, and CUBIC shows that a goal can be missed.

use anabranch_lab::{
    Controller,
    controllers::{Case, Length},
};

fn holds(case: Case) {
    let figures = case.run(Controller::Thalweg, Length::Short, 1);
    for figure in &figures {
        assert!(figure.holds(), "{case}: {figure:?} in {figures:?}");
    }
}

#[test]
fn one_percent_of_losses_leaves_delivery_at_the_floor() {
    holds(Case::OnePercent);
}

#[test]
fn five_percent_of_losses_are_carried() {
    holds(Case::FivePercent);
}

#[test]
fn losses_do_not_slow_a_greedy_flow_down() {
    holds(Case::Greedy);
    let cubic = Case::Greedy.run(Controller::Cubic, Length::Short, 1);
    assert!(!cubic[2].holds(), "{cubic:?}");
}

#[test]
fn bursts_of_losses_are_no_congestion() {
    holds(Case::Bursts);
}

#[test]
fn a_policer_is_not_overrun() {
    holds(Case::Policer);
}

#[test]
fn four_of_a_kind_come_to_equal_shares() {
    holds(Case::FourFlows);
}

#[test]
fn nine_tenths_of_the_link_arrive_without_a_queue() {
    holds(Case::Ninety);
}

#[test]
fn a_rate_that_falls_to_a_tenth_is_followed_within_ten_round_trips_and_back() {
    holds(Case::RateFalls);
}

#[test]
fn a_round_trip_that_rises_is_believed_and_one_that_falls_too() {
    holds(Case::RttRises);
}

#[test]
fn a_shallow_queue_is_not_overrun() {
    holds(Case::Shallow);
}

#[test]
fn beside_cubic_each_has_a_third_at_least() {
    holds(Case::CompetingCubic);
}

#[test]
fn long_and_slow_paths_are_filled_too() {
    holds(Case::Sweep);
}
