//! The example `actors`, as a process of its own, driven by its standard input.
#![cfg(feature = "runtime")]

use std::time::Instant;

use rstest::rstest;
use util::program::Program;
use util::{LIMIT, example};

mod util;

/// Settings with which nothing happens but what the test brings about.
const CALM: [&str; 2] = ["patience=60", "within=60"];

fn start(settings: &[&str]) -> Program {
    Program::start(&example::path("actors"), &[&CALM, settings].concat())
}

/// Sends a line, and checks what it is answered.
#[track_caller]
fn ask(actors: &mut Program, line: &str, expected: &str) {
    actors.send(&format!("{line}\n"));
    assert_eq!(actors.line(), format!("{line}: {expected}"));
}

/// Sends a line over and over until it is answered in time, and checks the answer.
#[track_caller]
fn ask_until_in_time(actors: &mut Program, line: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LIMIT, "{line} is never answered in time");
        actors.send(&format!("{line}\n"));
        match &*actors.line_after(&format!("{line}: ")) {
            "no answer in time" => {}
            answer => break assert_eq!(answer, expected),
        }
    }
}

/// Ends the input, and checks that nothing but the end in order is left.
#[track_caller]
fn end(mut actors: Program) {
    actors.end_input();
    assert_eq!(actors.rest(), ["all have ended"]);
    assert!(actors.wait().success());
}

#[test]
fn calls_are_answered() {
    let mut actors = start(&[]);
    ask(&mut actors, "6 * 7", "42");
    ask(&mut actors, "-6 + 8", "2");
    ask(&mut actors, "6 - 8", "-2");
    ask(&mut actors, "7 / 2", "3");
    end(actors);
}

#[test]
fn many_calls_at_once_are_answered_in_their_order() {
    let mut actors = start(&["calculators=8"]);
    // The first ones take longest.
    let lines: Vec<_> = (0..40).map(|number| 40 - number).collect();
    for number in &lines {
        actors.send(&format!("sleep {number}\n"));
    }
    for number in &lines {
        assert_eq!(actors.line(), format!("sleep {number}: {number}"));
    }
    end(actors);
}

#[rstest]
#[case::without_a_value("1 / 0")]
#[case::too_large("9223372036854775807 + 1")]
#[case::no_number("one + 1")]
#[case::no_sum("nonsense")]
fn who_calls_an_actor_that_fails_learns_it_and_the_actor_is_restarted(#[case] line: &str) {
    let mut actors = start(&["calculators=1", "restarts=2"]);
    for _ in 0..2 {
        ask(&mut actors, line, "the actor failed");
        actors.wait_for_error("calculator 1 failed: ");
        ask(&mut actors, "1 + 1", "2");
    }
    end(actors);
}

#[test]
fn a_restart_leaves_the_mailbox_as_it_was() {
    let mut actors = start(&["calculators=1", "restarts=1"]);
    actors.send("sleep 50\n1 / 0\n1 + 1\n2 + 2\n");
    assert_eq!(actors.line(), "sleep 50: 50");
    assert_eq!(actors.line(), "1 / 0: the actor failed");
    assert_eq!(actors.line(), "1 + 1: 2");
    assert_eq!(actors.line(), "2 + 2: 4");
    end(actors);
}

#[test]
fn a_restart_is_for_one_and_leaves_the_state_of_the_others() {
    let mut actors = start(&[]);
    ask(&mut actors, "1 + 1", "2");
    ask(&mut actors, "1 / 0", "the actor failed");
    ask(&mut actors, "2 + 2", "4");
    ask(&mut actors, "stats", "2 answered");
    end(actors);
}

#[test]
fn the_supervisor_gives_up_after_too_many_restarts() {
    let mut actors = start(&["calculators=2", "restarts=2"]);
    for _ in 0..3 {
        ask(&mut actors, "1 / 0", "the actor failed");
    }
    actors.end_input();
    assert_eq!(actors.rest(), [""; 0]);
    assert_eq!(actors.wait().code(), Some(1));
    actors.wait_for_error("the supervisor gave up: calculator");
}

#[test]
fn actors_of_a_supervisor_that_gave_up_are_gone() {
    let mut actors = start(&["calculators=2", "restarts=0"]);
    ask(&mut actors, "1 / 0", "the actor failed");
    // The other calculator may have some before it is cancelled.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < LIMIT, "the other calculator goes on");
        actors.send("1 + 1\n");
        match &*actors.line_after("1 + 1: ") {
            "2" | "the actor failed" => {}
            other => break assert_eq!(other, "the actor has stopped"),
        }
    }
}

#[test]
fn failures_of_long_ago_do_not_count() {
    let mut actors = start(&["calculators=1", "restarts=1", "within=0.01"]);
    for _ in 0..5 {
        ask(&mut actors, "1 / 0", "the actor failed");
        ask(&mut actors, "sleep 20", "20");
    }
    end(actors);
}

#[test]
fn a_call_has_an_end_though_the_actor_goes_on() {
    let mut actors = start(&["calculators=2", "patience=0.05"]);
    ask(&mut actors, "sleep 60000", "no answer in time");
    // The other one is there.
    ask_until_in_time(&mut actors, "1 + 1", "2");
}

#[test]
fn what_nobody_waits_for_any_more_is_not_done() {
    let mut actors = start(&["calculators=1", "patience=0.1"]);
    ask(&mut actors, "sleep 1500", "no answer in time");
    actors.send(&"1 / 0\n".repeat(20));
    for _ in 0..20 {
        assert_eq!(actors.line(), "1 / 0: no answer in time");
    }
    // Those would be more failures than the supervisor bears.
    ask_until_in_time(&mut actors, "1 + 1", "2");
}

#[test]
fn those_that_do_not_end_in_time_are_cancelled() {
    let mut actors = start(&["calculators=1", "patience=0.05"]);
    ask(&mut actors, "sleep 60000", "no answer in time");
    actors.end_input();
    actors.wait_for_error("some actors took too long to end, and were cancelled");
    assert_eq!(actors.wait().code(), Some(1));
    assert_eq!(actors.rest(), [""; 0]);
}

#[test]
fn all_that_was_asked_before_the_end_is_answered() {
    let mut actors = start(&["calculators=3"]);
    let lines: String = (0..500).map(|number| format!("{number} + 1\n")).collect();
    actors.send(&lines);
    actors.end_input();
    for number in 0..500 {
        assert_eq!(actors.line(), format!("{number} + 1: {}", number + 1));
    }
    end(actors);
}

#[rstest]
#[case::no_value("calculators")]
#[case::no_number("restarts=many")]
#[case::unknown("colour=red")]
fn wrong_settings_are_refused(#[case] setting: &str) {
    let mut actors = start(&[setting]);
    assert_eq!(actors.wait().code(), Some(1));
    assert_eq!(actors.rest(), [""; 0]);
}
