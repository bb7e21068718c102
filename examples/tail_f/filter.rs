//! The command that the lines go through.

use std::panic::resume_unwind;

use corde::go;
use corde::io::{self, ErrorKind, Read, Write};
use corde::os::unix::process::CommandExt;
use corde::process::{ChildStdin, Command, ExitStatus, Stdio};
use corde::sync::atomic::{AtomicU64, Ordering};
use corde::thread::JoinHandle;
use corde::time::{Duration, Instant, sleep_until};

use crate::{BLOCK, print};

/// It is not started more often than that.
const PAUSE: Duration = Duration::from_millis(100);

/// A command that lines go through. It is started when there is a line and it does not run.
pub(crate) struct Filter<'a> {
    command: &'a str,
    starts: &'a AtomicU64,
    earliest_start: Instant,
    running: Option<Running>,
}

struct Running {
    stdin: ChildStdin,
    /// Prints what comes out of it, to its end.
    printer: JoinHandle<io::Result<ExitStatus>>,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(command: &'a str, starts: &'a AtomicU64) -> Filter<'a> {
        Filter {
            command,
            starts,
            earliest_start: Instant::now(),
            running: None,
        }
    }

    /// Hands over a line. One that nobody takes any more is for the next one.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        loop {
            let running = match &mut self.running {
                Some(running) => running,
                None => {
                    let running = self.start()?;
                    self.running.insert(running)
                }
            };
            match running.stdin.write_all(line) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.finish()?,
                done => return done,
            }
        }
    }

    fn start(&mut self) -> io::Result<Running> {
        sleep_until(self.earliest_start);
        self.earliest_start = Instant::now() + PAUSE;
        let mut child = Command::new("sh")
            .args(["-c", self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of reach of Ctrl-C: it is to end when it has got all lines.
            .process_group(0)
            .spawn()?;
        self.starts.fetch_add(1, Ordering::Relaxed);
        let stdin = child.stdin.take().expect("it is piped");
        let mut stdout = child.stdout.take().expect("it is piped");
        let printer = go!({
            let mut block = vec![0; BLOCK];
            loop {
                match stdout.read(&mut block)? {
                    0 => return child.wait(),
                    count => print(&block[..count])?,
                }
            }
        });
        Ok(Running { stdin, printer })
    }

    /// Lets it come to its end.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(Running { stdin, printer }) = self.running.take() else {
            return Ok(());
        };
        drop(stdin);
        let status = printer
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))?;
        if !status.success() {
            eprintln!("filter: {status}");
        }
        Ok(())
    }
}
