//! The example `tail_f`, as a process of its own, on files that change under it. Not under ThreadSanitizer, which keeps a signal until its thread
//! calls a function of C: the main thread sleeps.
#![cfg(all(feature = "runtime", not(feature = "tsan")))]

mod util;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use util::example;
use util::place::Place;
use util::program::Program;
use util::threads::OnDrop;

/// Starts it, quick to look.
fn start(args: &[&str], paths: &[&Path]) -> Program {
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    let args: Vec<&str> = ["-s", "0.01"]
        .into_iter()
        .chain(args.iter().copied())
        .chain(paths)
        .collect();
    Program::start(&example::path("tail_f"), &args)
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Asks for the counters of its first file. It must be listening to signals, which it does before it looks for files.
#[track_caller]
fn counters(program: &Program) -> String {
    program.signal(libc::SIGUSR1);
    program.wait_for_error(" lines, ")
}

#[track_caller]
fn wait_until_counted(program: &Program, what: &str) {
    while !counters(program).contains(what) {}
}

/// Has it end, and returns the lines that it printed last, and those of its counters.
#[track_caller]
fn end(program: &mut Program) -> (Vec<String>, Vec<String>) {
    program.interrupt();
    let rest = program.rest();
    let counters = program.errors();
    assert_eq!(program.wait().code(), Some(0), "{counters:?}");
    (rest, counters)
}

/// Has it end after what was to be seen, and checks the counters of its only file, which end like this.
#[track_caller]
fn end_with(mut program: Program, counters: &str) {
    let (rest, complaints) = end(&mut program);
    assert_eq!(rest, [""; 0]);
    let last = complaints.last().unwrap();
    assert!(last.ends_with(counters), "{complaints:?}");
}

#[rstest]
#[case::none("0", "one\ntwo\n", &[])]
#[case::one("1", "one\ntwo\n", &["two"])]
#[case::all("2", "one\ntwo\n", &["one", "two"])]
#[case::more_than_there_are("3", "one\ntwo\n", &["one", "two"])]
#[case::of_an_empty_file("3", "", &[])]
#[case::empty_ones("2", "one\n\n\n", &["", ""])]
fn it_begins_with_the_last_lines(
    #[case] count: &str,
    #[case] content: &str,
    #[case] lines: &[&str],
) {
    let (place, path) = Place::with(content);
    let other = place.0.join("other");
    let mut program = start(&["-n", count], &[&path, &other]);
    let title = format!("{}: ", path.display());
    for line in lines {
        assert_eq!(program.line_after(&title), *line);
    }
    // What comes after its first look is new to it.
    program.wait_for_error("other: No such file");
    wait_until_counted(&program, "opened 1 times");
    append(&path, "three\nfour\n");
    assert_eq!(program.line_after(&title), "three");
    assert_eq!(program.line_after(&title), "four");
    assert_eq!(end(&mut program).0, [""; 0]);
}

#[test]
fn it_finds_last_lines_that_are_far_from_the_end() {
    let lines: Vec<String> = (0..10_000).map(|number| format!("line {number}")).collect();
    let (_place, path) = Place::with(lines.join("\n") + "\n");
    let program = start(&["-n", "9000"], &[&path]);
    for line in &lines[1000..] {
        assert_eq!(program.line(), *line);
    }
    end_with(program, "opened 1 times, truncated 0 times");
}

#[test]
fn a_line_is_printed_when_it_has_ended() {
    let (_place, path) = Place::with("be");
    let mut program = start(&[], &[&path]);
    append(&path, "gin ");
    append(&path, "and end\nrest");
    assert_eq!(program.line(), "begin and end");
    let (rest, _) = end(&mut program);
    assert_eq!(rest, ["rest"]);
}

#[test]
fn a_line_without_end_comes_in_pieces() {
    let (_place, path) = Place::with("a".repeat(200_000));
    let mut program = start(&[], &[&path]);
    assert!(program.line().starts_with("aaaa"));
    let (rest, _) = end(&mut program);
    assert!(!rest.is_empty());
    assert!(rest.iter().all(|line| line.len() < 100_000));
}

#[test]
fn it_goes_on_with_the_file_that_replaces_another() {
    let (place, path) = Place::with("old\n");
    let program = start(&[], &[&path]);
    assert_eq!(program.line(), "old");
    let moved = place.0.join("moved");
    fs::rename(&path, &moved).unwrap();
    program.wait_for_error("No such file");
    // Whoever writes it may not know yet.
    append(&moved, "late\nlast, without its end");
    assert_eq!(program.line(), "late");
    fs::write(&path, "new\n").unwrap();
    assert_eq!(program.line(), "last, without its end");
    assert_eq!(program.line(), "new");
    append(&path, "newer\n");
    assert_eq!(program.line(), "newer");
    program.wait_for_error("replaced");
    end_with(program, "opened 2 times, truncated 0 times");
}

/// A file that is removed leaves its number to the next one, if it is not kept.
#[test]
fn it_tells_a_new_file_from_a_removed_one_at_once() {
    let (place, path) = Place::with("0\n");
    let program = start(&[], &[&path]);
    assert_eq!(program.line(), "0");
    for number in 1..20 {
        fs::remove_file(&path).unwrap();
        // Of the same length.
        let next = place.0.join("next");
        fs::write(&next, format!("{}\n", number % 10)).unwrap();
        fs::rename(&next, &path).unwrap();
        assert_eq!(program.line(), (number % 10).to_string());
    }
    end_with(program, "opened 20 times, truncated 0 times");
}

#[test]
fn it_begins_anew_with_a_file_that_is_truncated() {
    let (_place, path) = Place::with("a long line\nand no end");
    let program = start(&[], &[&path]);
    assert_eq!(program.line(), "a long line");
    fs::write(&path, "new\n").unwrap();
    assert_eq!(program.line(), "and no end");
    assert_eq!(program.line(), "new");
    end_with(program, "opened 1 times, truncated 1 times");
}

#[test]
fn it_waits_for_a_file_and_reads_all_of_it() {
    let place = Place::new();
    let path = place.0.join("later");
    let program = start(&["-n", "1"], &[&path]);
    program.wait_for_error("No such file");
    fs::create_dir(&path).unwrap();
    program.wait_for_error("not a regular file");
    fs::remove_dir(&path).unwrap();
    program.wait_for_error("No such file");
    let written = place.0.join("written");
    fs::write(&written, "one\ntwo\n").unwrap();
    fs::rename(&written, &path).unwrap();
    assert_eq!(program.line(), "one");
    assert_eq!(program.line(), "two");
    program.wait_for_error("is there");
    end_with(
        program,
        "2 lines, 8 bytes; opened 1 times, truncated 0 times",
    );
}

#[test]
fn lines_of_several_files_carry_their_names() {
    let place = Place::new();
    let paths: Vec<PathBuf> = (0..20)
        .map(|number| place.0.join(format!("file{number}")))
        .collect();
    for path in &paths {
        File::create(path).unwrap();
    }
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut program = start(&[], &all);
    for round in 0..3 {
        for path in &paths {
            append(path, &format!("round {round}\n"));
        }
        let mut lines: Vec<String> = paths.iter().map(|_| program.line()).collect();
        lines.sort();
        let expected = |path: &PathBuf| format!("{}: round {round}", path.display());
        let mut expected: Vec<String> = paths.iter().map(expected).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }
    let (rest, counters) = end(&mut program);
    assert_eq!(rest, [""; 0]);
    assert_eq!(counters.len(), paths.len());
    for (line, path) in counters.iter().zip(&paths) {
        assert!(line.starts_with(&format!("{}: 3 lines", path.display())));
    }
}

#[test]
fn a_filter_gets_all_lines_and_ends_when_there_are_no_more() {
    let (_place, path) = Place::with("one\ntwo\n");
    // Only at its end it says what it got.
    let filter = "echo begun; sort -r; echo sorted";
    let mut program = start(&["--through", filter], &[&path]);
    assert_eq!(program.line(), "begun");
    wait_until_counted(&program, " 2 lines");
    append(&path, "three\n");
    let (rest, counters) = end(&mut program);
    assert_eq!(rest, ["two", "three", "one", "sorted"]);
    assert_eq!(counters.last().unwrap(), "filter: started 1 times");
}

#[test]
fn more_than_pipes_and_channels_hold_goes_through_a_filter() {
    let (_place, path) = Place::with("");
    let filter = "echo begun; sed s/^/filtered:/";
    let mut program = start(&["-n", "50000", "--through", filter], &[&path]);
    let text: String = (0..50_000).map(|number| format!("{number}\n")).collect();
    append(&path, &text);
    assert_eq!(program.line(), "begun");
    wait_until_counted(&program, "50000 lines");
    let (rest, _) = end(&mut program);
    assert_eq!(rest.len(), 50_000);
    for (number, line) in rest.iter().enumerate() {
        assert_eq!(*line, format!("filtered:{number}"));
    }
}

#[test]
fn a_filter_that_has_ended_is_started_again() {
    let (_place, path) = Place::with("first\n");
    let filter = "read line; echo got $line; exit 3";
    let mut program = start(&["--through", filter], &[&path]);
    assert_eq!(program.line(), "got first");
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // One that comes while the filter is about to end goes with it.
            while !enough.load(Ordering::Relaxed) {
                append(&path, "another\n");
                thread::sleep(Duration::from_millis(1));
            }
        });
        let _enough = OnDrop(|| enough.store(true, Ordering::Relaxed));
        for _ in 0..2 {
            assert_eq!(program.line(), "got another");
        }
    });
    program.wait_for_error("filter: exit status: 3");
    let (_, counters) = end(&mut program);
    let last = counters.last().unwrap();
    assert!(last.starts_with("filter: started "), "{counters:?}");
    assert_ne!(last, "filter: started 1 times");
}

/// What a terminal sends goes to the whole group.
#[test]
#[cfg(target_os = "linux")]
fn a_filter_is_out_of_reach_of_ctrl_c() {
    let (_place, path) = Place::with("line\n");
    let filter = "read pid name state parent group rest < /proc/self/stat; echo $((group == $$))";
    let mut program = start(&["--through", filter], &[&path]);
    assert_eq!(program.line(), "1");
    end(&mut program);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_the_filter() {
    let (_place, path) = Place::with("line\nunfinished");
    // Goes on until its parent has ended.
    let filter = "echo begun; while kill -0 $PPID; do sleep 0.05; done 2> /dev/null";
    let mut program = start(&["--through", filter], &[&path]);
    assert_eq!(program.line(), "begun");
    program.interrupt();
    // That it got the first one shows in the line that had no end.
    wait_until_counted(&program, " 2 lines");
    program.interrupt();
    assert_eq!(program.wait().code(), Some(130));
}

#[test]
fn a_hangup_opens_the_file_again_and_goes_on_where_it_was() {
    let (_place, path) = Place::with("one\n");
    let program = start(&[], &[&path]);
    assert_eq!(program.line(), "one");
    program.signal(libc::SIGHUP);
    wait_until_counted(&program, "opened 2 times");
    append(&path, "two\n");
    assert_eq!(program.line(), "two");
    end_with(
        program,
        "2 lines, 8 bytes; opened 2 times, truncated 0 times",
    );
}

#[test]
fn it_ends_quietly_when_nobody_reads() {
    let (_place, path) = Place::with("one\n");
    let runner = util::child::runner();
    let program = example::path("tail_f");
    let mut words = runner.split_whitespace().map(Path::new).chain([&*program]);
    let mut process = Command::new(words.next().unwrap())
        .args(words)
        .args(["-s", "0.01"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    drop(stdout);
    append(&path, "two\n");
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[rstest]
#[case::no_file(&[], "wants files")]
#[case::no_time(&["-s", "0", "file"], "more than 0 seconds")]
#[case::no_value(&["file", "-n"], "-n wants a value")]
#[case::no_number(&["-n", "many", "file"], "invalid digit")]
fn it_refuses(#[case] args: &[&str], #[case] why: &str) {
    let mut program = Program::start(&example::path("tail_f"), args);
    program.wait_for_error(why);
    assert_eq!(program.wait().code(), Some(1));
}
