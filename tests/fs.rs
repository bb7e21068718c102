//! Files and directories: that everything does what std does.
#![cfg(feature = "runtime")]
#![allow(deprecated, reason = "`soft_link` is, as that of std")]

mod util;

use std::fmt::Debug;
use std::io::{
    self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write,
};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use corde::fs::{self, DirBuilder, DirEntry, File, OpenOptions, ReadDir};
use corde::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use corde::thread;
use rstest::rstest;
use util::place::{LARGE, Place, pattern};
use util::threads::Kind;

// The same as std.

/// What a call has come to: what it returned, without the place that it happened in, or the error's kind, number and text.
type Outcome = Result<String, (ErrorKind, Option<i32>, String)>;

fn outcome<T: Debug>(root: &Path, result: io::Result<T>) -> Outcome {
    match result {
        Ok(value) => Ok(format!("{value:?}").replace(root.to_str().unwrap(), "ROOT")),
        Err(error) => Err((error.kind(), error.raw_os_error(), error.to_string())),
    }
}

/// The same code with std's names and with ours.
macro_rules! both {
    (|$root:ident| $body:expr) => {
        [
            {
                #[allow(unused_imports, reason = "each case needs its part")]
                use std::{fs, os::unix::fs as unix};
                fn call($root: &Path) -> io::Result<impl Debug> {
                    $body
                }
                (|root| outcome(root, call(root))) as fn(&Path) -> Outcome
            },
            {
                #[allow(unused_imports, reason = "each case needs its part")]
                use corde::{fs, os::unix::fs as unix};
                fn call($root: &Path) -> io::Result<impl Debug> {
                    $body
                }
                (|root| outcome(root, call(root))) as fn(&Path) -> Outcome
            },
        ]
    };
}

type Both = [fn(&Path) -> Outcome; 2];

/// What the calls find: files, directories, links that lead somewhere, nowhere, and in a circle.
fn furnish(root: &Path) {
    use std::fs;
    use std::os::unix::fs::symlink;
    fs::write(root.join("file"), "some content").unwrap();
    fs::write(root.join("binary"), [0xff, 0xfe, 0]).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir_all(root.join("full/inner")).unwrap();
    fs::write(root.join("full/inner/deep"), "deep").unwrap();
    symlink("file", root.join("link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("circle", root.join("circle")).unwrap();
}

/// All that is below a directory: names, types, modes, content.
fn inventory(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            left.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            String::new()
        } else if metadata.is_symlink() {
            format!("{:?}", std::fs::read_link(&path).unwrap())
        } else {
            format!("{:?}", std::fs::read(&path).unwrap())
        };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        found.push(format!(
            "{name} {:o} {} {content}",
            metadata.mode(),
            metadata.nlink()
        ));
    }
    found.sort();
    found
}

/// What is the same of two files.
fn facts(metadata: corde::fs::Metadata) -> (u64, u32, bool) {
    (
        metadata.len() * u64::from(metadata.is_file()),
        metadata.mode(),
        metadata.is_symlink(),
    )
}

#[rstest]
#[case::read(both!(|root| fs::read(root.join("file"))))]
#[case::read_nothing(both!(|root| fs::read(root.join("nothing"))))]
#[case::read_a_directory(both!(|root| fs::read(root)))]
#[case::read_to_string(both!(|root| fs::read_to_string(root.join("link"))))]
#[case::read_to_string_what_is_none(both!(|root| fs::read_to_string(root.join("binary"))))]
#[case::write(both!(|root| fs::write(root.join("new"), "new")))]
#[case::write_over(both!(|root| fs::write(root.join("file"), [1, 2])))]
#[case::write_to_a_directory(both!(|root| fs::write(root, "")))]
#[case::remove_file(both!(|root| fs::remove_file(root.join("file"))))]
#[case::remove_file_a_link(both!(|root| fs::remove_file(root.join("link"))))]
#[case::remove_file_a_directory(both!(|root| fs::remove_file(root.join("empty"))))]
#[case::remove_file_nothing(both!(|root| fs::remove_file(root.join("nothing"))))]
#[case::metadata(both!(|root| fs::metadata(root.join("link")).map(facts)))]
#[case::metadata_of_nothing(both!(|root| fs::metadata(root.join("dangling")).map(facts)))]
#[case::metadata_in_a_circle(both!(|root| fs::metadata(root.join("circle")).map(facts)))]
#[case::symlink_metadata(both!(|root| fs::symlink_metadata(root.join("dangling")).map(facts)))]
#[case::symlink_metadata_of_nothing(both!(|root| fs::symlink_metadata(root.join("nothing")).map(facts)))]
#[case::rename(both!(|root| fs::rename(root.join("file"), root.join("full/moved"))))]
#[case::rename_over(both!(|root| fs::rename(root.join("file"), root.join("binary"))))]
#[case::rename_to_a_full_directory(both!(|root| fs::rename(root.join("empty"), root.join("full"))))]
#[case::rename_nothing(both!(|root| fs::rename(root.join("nothing"), root.join("moved"))))]
#[case::copy(both!(|root| fs::copy(root.join("file"), root.join("twice"))))]
#[case::copy_over(both!(|root| fs::copy(root.join("binary"), root.join("file"))))]
#[case::copy_a_directory(both!(|root| fs::copy(root.join("full"), root.join("twice"))))]
#[case::copy_nothing(both!(|root| fs::copy(root.join("nothing"), root.join("twice"))))]
#[case::hard_link(both!(|root| fs::hard_link(root.join("file"), root.join("second"))))]
#[case::hard_link_over(both!(|root| fs::hard_link(root.join("file"), root.join("binary"))))]
#[case::soft_link(both!(|root| fs::soft_link("file", root.join("second"))))]
#[case::read_link(both!(|root| fs::read_link(root.join("dangling"))))]
#[case::read_link_of_a_file(both!(|root| fs::read_link(root.join("file"))))]
#[case::canonicalize(both!(|root| fs::canonicalize(root.join("full/../link"))))]
#[case::canonicalize_a_circle(both!(|root| fs::canonicalize(root.join("circle"))))]
#[case::create_dir(both!(|root| fs::create_dir(root.join("new"))))]
#[case::create_dir_again(both!(|root| fs::create_dir(root.join("full"))))]
#[case::create_dir_in_nothing(both!(|root| fs::create_dir(root.join("new/inner"))))]
#[case::create_dir_all(both!(|root| fs::create_dir_all(root.join("new/middle/inner"))))]
#[case::create_dir_all_again(both!(|root| fs::create_dir_all(root.join("full/inner"))))]
#[case::create_dir_all_below_a_file(both!(|root| fs::create_dir_all(root.join("file/inner"))))]
#[case::remove_dir(both!(|root| fs::remove_dir(root.join("empty"))))]
#[case::remove_dir_that_is_full(both!(|root| fs::remove_dir(root.join("full"))))]
#[case::remove_dir_all(both!(|root| fs::remove_dir_all(root.join("full"))))]
#[case::remove_dir_all_of_nothing(both!(|root| fs::remove_dir_all(root.join("nothing"))))]
#[case::remove_dir_all_of_a_file(both!(|root| fs::remove_dir_all(root.join("file"))))]
#[case::read_dir(both!(|root| fs::read_dir(root.join("full")).and_then(|entries| entries.collect::<io::Result<Vec<_>>>())))]
#[case::read_dir_itself(both!(|root| fs::read_dir(root)))]
#[case::read_dir_of_a_file(both!(|root| fs::read_dir(root.join("file"))))]
#[case::read_dir_of_nothing(both!(|root| fs::read_dir(root.join("nothing"))))]
#[case::set_permissions(both!(|root| fs::set_permissions(root.join("link"), PermissionsExt::from_mode(0o640))))]
#[case::set_permissions_of_nothing(both!(|root| fs::set_permissions(root.join("nothing"), PermissionsExt::from_mode(0o640))))]
#[case::exists(both!(|root| fs::exists(root.join("link"))))]
#[case::exists_not(both!(|root| fs::exists(root.join("dangling"))))]
#[case::exists_below_a_file(both!(|root| fs::exists(root.join("file/inner"))))]
#[case::a_path_with_a_zero(both!(|root| fs::exists(root.join("a\0b"))))]
#[case::dir_builder(both!(|root| fs::DirBuilder::new().mode(0o700).create(root.join("new"))))]
#[case::dir_builder_recursive(both!(|root| fs::DirBuilder::new().recursive(true).create(root.join("new/inner"))))]
#[case::dir_builder_itself(both!(|_root| Ok(format!("{:?}", fs::DirBuilder::new().recursive(true)))))]
#[case::open_options_itself(both!(|_root| Ok(fs::OpenOptions::new().append(true).mode(0o600).clone())))]
#[case::open(both!(|root| fs::File::open(root.join("nothing"))))]
#[case::open_a_link_that_is_not_followed(both!(|root| fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(root.join("link"))))]
#[case::open_for_nothing(both!(|root| fs::OpenOptions::new().open(root.join("file"))))]
#[case::open_to_make_what_is_read(both!(|root| fs::OpenOptions::new().read(true).create_new(true).open(root.join("new"))))]
#[case::open_with_a_mode(both!(|root| fs::OpenOptions::new().write(true).create_new(true).mode(0o604).open(root.join("new")).map(drop)))]
#[case::create(both!(|root| fs::File::create(root.join("file")).map(drop)))]
#[case::create_in_a_directory(both!(|root| fs::File::create(root.join("nothing/new"))))]
#[case::create_new(both!(|root| fs::File::create_new(root.join("new")).map(drop)))]
#[case::create_new_again(both!(|root| fs::File::create_new(root.join("file"))))]
#[case::append(both!(|root| fs::File::options().append(true).open(root.join("file"))?.write(b", and more")))]
#[case::write_without_emptying(both!(|root| fs::OpenOptions::new().write(true).open(root.join("file"))?.write_all(b"S")))]
#[case::write_what_is_read_only(both!(|root| fs::File::open(root.join("file"))?.write(b"x")))]
#[case::write_all_to_what_is_read_only(both!(|root| fs::File::open(root.join("file"))?.write_all(b"x")))]
#[case::write_all_to_a_full_device(both!(|_root| fs::OpenOptions::new().write(true).open("/dev/full")?.write_all(b"x")))]
#[case::read_what_is_write_only(both!(|root| fs::File::create(root.join("file"))?.read(&mut [0; 4])))]
#[case::read_an_open_directory(both!(|root| fs::File::open(root)?.read(&mut [0; 4])))]
#[case::read_into_nothing(both!(|root| fs::File::open(root.join("file"))?.read(&mut [])))]
#[case::read_exact_too_much(both!(|root| fs::File::open(root.join("file"))?.read_exact(&mut [0; 40])))]
#[case::read_exact_at_too_much(both!(|root| fs::File::open(root.join("file"))?.read_exact_at(&mut [0; 40], 3)))]
#[case::read_at_a_place_that_cannot_be(both!(|root| fs::File::open(root.join("file"))?.read_at(&mut [0; 4], u64::MAX)))]
#[case::read_at_a_place_that_is_the_largest(both!(|root| fs::File::open(root.join("file"))?.read_at(&mut [0; 4], i64::MAX as u64)))]
#[case::read_at_the_end(both!(|root| fs::File::open(root.join("file"))?.read_at(&mut [0; 4], 12)))]
#[case::read_to_string_of_a_file_that_holds_none(both!(|root| fs::File::open(root.join("binary"))?.read_to_string(&mut String::new())))]
#[case::set_len(both!(|root| fs::OpenOptions::new().write(true).open(root.join("file"))?.set_len(20)))]
#[case::set_len_of_what_is_read_only(both!(|root| fs::File::open(root.join("file"))?.set_len(20)))]
#[case::file_set_permissions(both!(|root| fs::File::open(root.join("file"))?.set_permissions(PermissionsExt::from_mode(0o604))))]
#[case::file_metadata(both!(|root| fs::File::open(root.join("file"))?.metadata().map(facts)))]
#[case::sync_all(both!(|root| fs::File::open(root.join("file"))?.sync_all()))]
#[case::sync_data_of_what_has_no_disk(both!(|_root| fs::File::open("/dev/null")?.sync_data()))]
#[case::symlink(both!(|root| unix::symlink("file", root.join("second"))))]
#[case::symlink_over(both!(|root| unix::symlink("file", root.join("link"))))]
#[case::chown_to_nobody_else(both!(|root| unix::chown(root.join("link"), None, None)))]
#[case::chown_nothing(both!(|root| unix::chown(root.join("dangling"), Some(1), Some(1))))]
#[case::lchown(both!(|root| unix::lchown(root.join("dangling"), None, None)))]
#[case::lchown_nothing(both!(|root| unix::lchown(root.join("nothing"), None, None)))]
#[case::fchown(both!(|root| unix::fchown(fs::File::open(root.join("file"))?, None, None)))]
#[case::chroot_into_nothing(both!(|root| unix::chroot(root.join("nothing"))))]
fn it_is_as_with_std(#[case] both: Both, #[values(Kind::Green, Kind::Os)] kind: Kind) {
    let [with_std, with_corde] = both;
    let (expected, found) = (Place::new(), Place::new());
    furnish(&expected.0);
    furnish(&found.0);
    let result = with_std(&expected.0);
    let root = found.0.clone();
    assert_eq!(kind.run(move || with_corde(&root)), result);
    assert_eq!(inventory(&found.0), inventory(&expected.0));
}

#[rstest]
#[case::start(&[SeekFrom::Start(3)])]
#[case::beyond(&[SeekFrom::Start(1 << 40), SeekFrom::Current(1)])]
#[case::end(&[SeekFrom::End(-2), SeekFrom::End(0), SeekFrom::End(7)])]
#[case::current(&[SeekFrom::Current(5), SeekFrom::Current(-2)])]
#[case::before_the_start(&[SeekFrom::Start(4), SeekFrom::Current(-5), SeekFrom::End(-13), SeekFrom::Current(0)])]
#[case::too_far(&[SeekFrom::Start(u64::MAX), SeekFrom::Current(i64::MIN), SeekFrom::End(i64::MAX)])]
fn seeking_is_as_with_std(#[case] seeks: &'static [SeekFrom]) {
    let (_place, path) = Place::with("some content");
    let mut expected = std::fs::File::open(&path).unwrap();
    let results: Vec<_> = seeks
        .iter()
        .map(|&to| outcome(&path, expected.seek(to)))
        .collect();
    let place = expected.stream_position().unwrap();
    corde::run(move || {
        let mut file = File::open(&path).unwrap();
        for (&to, result) in seeks.iter().zip(results) {
            assert_eq!(outcome(&path, file.seek(to)), result, "{to:?}");
        }
        assert_eq!(file.stream_position().unwrap(), place);
        file.rewind().unwrap();
        file.seek_relative(2).unwrap();
        assert_eq!(file.stream_position().unwrap(), 2);
        assert_eq!(file.read(&mut [0]).unwrap(), 1);
        assert_eq!((&file).stream_position().unwrap(), 3);
    });
}

#[test]
fn what_has_no_cursor_cannot_seek() {
    let (_place, path) = Place::with_fifo();
    corde::run(move || {
        let mut fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        assert_eq!(fifo.rewind().unwrap_err().kind(), ErrorKind::NotSeekable);
        let at = fifo.read_at(&mut [0], 0).unwrap_err();
        assert_eq!(at.kind(), ErrorKind::NotSeekable);
    });
}

#[test]
fn times_are_set_as_with_std() {
    let (_place, path) = Place::with("");
    corde::run(move || {
        let file = File::open(&path).unwrap();
        let times = corde::fs::FileTimes::new();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_times(times.set_accessed(at(1)).set_modified(at(2)))
            .unwrap();
        file.set_modified(at(3)).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.accessed().unwrap(), metadata.modified().unwrap()),
            (at(1), at(3))
        );
    });
}

#[test]
fn types_are_what_those_of_std_are() {
    fn is_like_std<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + Debug>() {}
    is_like_std::<File>();
    is_like_std::<OpenOptions>();
    is_like_std::<DirBuilder>();
    is_like_std::<ReadDir>();
    is_like_std::<DirEntry>();
}

// Reading and writing.

#[rstest]
#[case::by_the_byte(1, 1_000)]
#[case::by_parts(1_000, LARGE)]
#[case::by_what_is_read_in_place(64 * 1024, LARGE)]
#[case::by_more(64 * 1024 + 1, LARGE)]
#[case::at_once(LARGE, LARGE)]
fn reads_come_one_after_the_other(#[case] part: usize, #[case] length: usize) {
    let (_place, path) = Place::with(pattern(length));
    corde::run(move || {
        let mut file = File::open(path).unwrap();
        let (mut found, mut buffer) = (Vec::new(), vec![0; part]);
        loop {
            let read = file.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            found.extend_from_slice(&buffer[..read]);
            assert_eq!(file.stream_position().unwrap(), found.len() as u64);
        }
        assert!(found == pattern(length));
    });
}

#[rstest]
#[case::a_little(10)]
#[case::all_but_the_end(LARGE - 100)]
fn exact_reads_are_whole(#[case] part: usize) {
    let (_place, path) = Place::with(pattern(LARGE));
    corde::run(move || {
        let mut file = File::open(path).unwrap();
        let mut buffer = vec![0; part];
        file.read_exact(&mut buffer).unwrap();
        assert!(buffer == pattern(LARGE)[..part]);
        assert_eq!(file.stream_position().unwrap(), part as u64);
        file.read_exact_at(&mut buffer, 100).unwrap();
        assert!(buffer == pattern(LARGE)[100..][..part]);
        assert_eq!(file.read_at(&mut buffer[..7], 5).unwrap(), 7);
        assert_eq!(buffer[..7], pattern(LARGE)[5..][..7]);
        assert_eq!(file.stream_position().unwrap(), part as u64);
    });
}

#[test]
fn what_is_not_in_memory_is_read_from_the_disk() {
    let (_place, path) = Place::with(pattern(LARGE));
    corde::run(move || {
        let mut file = File::open(path).unwrap();
        file.sync_all().unwrap();
        #[cfg(target_os = "linux")]
        {
            // SAFETY: no pointers.
            let advised =
                unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            assert_eq!(advised, 0);
        }
        let mut buffer = vec![0; 8192];
        for place in (0..LARGE - 8192).step_by(50_000).rev() {
            file.seek(SeekFrom::Start(place as u64)).unwrap();
            file.read_exact(&mut buffer).unwrap();
            assert!(buffer == pattern(LARGE)[place..][..8192]);
        }
    });
}

#[test]
fn a_file_that_grows_is_read_on() {
    let (_place, path) = Place::with("one");
    corde::run(move || {
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let mut file = File::open(&path).unwrap();
        let mut text = String::from(">");
        assert_eq!(file.read_to_string(&mut text).unwrap(), 3);
        assert_eq!(file.read(&mut [0; 8]).unwrap(), 0);
        writer.write_all(b", two").unwrap();
        assert_eq!(file.read_to_string(&mut text).unwrap(), 5);
        writer.write_all(b", three").unwrap();
        let mut more = [0; 20];
        assert_eq!(file.read(&mut more).unwrap(), 7);
        let mut bytes = Vec::new();
        assert_eq!(file.read_to_end(&mut bytes).unwrap(), 0);
        assert_eq!((text.as_str(), &more[..7]), (">one, two", &b", three"[..]));
    });
}

#[test]
fn std_buffers_and_copies_work() {
    let (place, path) = Place::with("one\ntwo\nthree");
    corde::run(move || {
        let lines = BufReader::new(File::open(&path).unwrap()).lines();
        let lines: Vec<_> = lines.map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two", "three"]);
        let copy = place.0.join("copy");
        let mut to = io::BufWriter::new(File::create(&copy).unwrap());
        io::copy(&mut File::open(&path).unwrap(), &mut to).unwrap();
        to.flush().unwrap();
        assert_eq!(fs::read(copy).unwrap(), b"one\ntwo\nthree");
    });
}

#[test]
fn several_buffers_are_read_and_written_in_order() {
    let (_place, path) = Place::with("");
    corde::run(move || {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let parts = [IoSlice::new(b"one, "), IoSlice::new(b"two")];
        assert_eq!(file.write_vectored(&parts).unwrap(), 8);
        file.flush().unwrap();
        file.rewind().unwrap();
        let (mut first, mut second) = ([0; 3], [0; 9]);
        let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(file.read_vectored(&mut parts).unwrap(), 8);
        assert_eq!((&first, &second[..5]), (b"one", &b", two"[..]));
        assert_eq!(file.write_at(b"T", 5).unwrap(), 1);
        file.write_all_at(b"WO!", 6).unwrap();
        assert_eq!(file.stream_position().unwrap(), 8);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one, TWO!");
    });
}

/// Each write to such a file is a message.
fn messages() -> (File, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (File::from(OwnedFd::from(ours)), theirs)
}

#[test]
fn formatted_text_is_written_at_once() {
    corde::run(|| {
        let (mut file, written) = messages();
        // Not literals, which the compiler would put together itself.
        let (one, two) = (1, 2);
        write!(file, "{one}-{two}").unwrap();
        writeln!(&file, "plain").unwrap();
        let mut buffer = [0; 16];
        for text in ["1-2", "plain\n"] {
            let length = written.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text.as_bytes());
        }
    });
}

#[test]
fn threads_share_a_file_by_places() {
    const THREADS: usize = 8;
    let (_place, path) = Place::with([]);
    corde::run(move || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        thread::scope(|scope| {
            for i in 0..THREADS {
                let file = &file;
                scope.spawn(move || {
                    let (part, mut back) = ([i as u8; 1000], [0; 1000]);
                    file.write_all_at(&part, 1000 * i as u64).unwrap();
                    file.read_exact_at(&mut back, 1000 * i as u64).unwrap();
                    assert_eq!(back, part);
                });
            }
        });
        assert_eq!(file.metadata().unwrap().len(), 1000 * THREADS as u64);
    });
}

#[test]
fn clones_share_the_cursor() {
    let (_place, path) = Place::with("one two");
    corde::run(move || {
        let mut file = File::open(path).unwrap();
        let mut clone = file.try_clone().unwrap();
        file.read_exact(&mut [0; 4]).unwrap();
        let mut rest = String::new();
        clone.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two");
        assert_eq!(file.stream_position().unwrap(), 7);
    });
}

// What a file is made of, and what is made of it.

#[test]
fn a_file_goes_to_std_and_back() {
    let (_place, path) = Place::with("content");
    corde::run(move || {
        let file = File::open(&path).unwrap();
        let fd = file.as_raw_fd();
        assert_eq!(file.as_fd().as_raw_fd(), fd);
        let text = format!("{file:?}");
        let file = std::fs::File::from(file);
        assert_eq!((file.as_raw_fd(), format!("{file:?}")), (fd, text));
        let file = OwnedFd::from(File::from(file));
        let raw = File::from(file).into_raw_fd();
        assert_eq!(raw, fd);
        // SAFETY: it was just given up.
        let mut file = unsafe { File::from_raw_fd(raw) };
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert!(!file.is_terminal());
    });
}

#[test]
fn a_file_is_what_a_process_reads() {
    let (_place, path) = Place::with("content");
    let file = corde::run(move || File::open(path).unwrap());
    let output = Command::new("cat")
        .stdin(Stdio::from(file))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"content");
}

// Directories.

#[rstest]
#[case::none(0)]
#[case::one(1)]
#[case::almost_a_batch(127)]
#[case::a_batch(128)]
#[case::a_batch_and_one(129)]
#[case::two_batches(256)]
#[case::a_thousand(1_000)]
fn all_entries_of_a_directory_are_found_once(#[case] count: usize) {
    let place = Place::new();
    let names: Vec<_> = (0..count).map(|i| format!("{i:04}")).collect();
    for name in &names {
        std::fs::write(place.0.join(name), "").unwrap();
    }
    corde::run(move || {
        let mut entries = fs::read_dir(&place.0).unwrap();
        let mut found: Vec<_> = entries
            .by_ref()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, names);
        // As std's.
        std::fs::write(place.0.join("late"), "").unwrap();
        assert!(entries.next().is_none());
    });
}

#[test]
fn a_directory_may_be_left_midway_and_its_entries_stay() {
    let place = Place::new();
    for i in 0..300 {
        std::fs::write(place.0.join(i.to_string()), "").unwrap();
    }
    corde::run(move || {
        let mut entries = fs::read_dir(&place.0).unwrap();
        let some: Vec<_> = entries.by_ref().take(200).map(Result::unwrap).collect();
        drop(entries);
        let mut names: Vec<_> = some.iter().map(DirEntry::file_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 200);
        for entry in &some {
            assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
        }
    });
}

#[test]
fn entries_are_described_as_with_std() {
    let place = Place::new();
    furnish(&place.0);
    corde::run(move || {
        let sorted = |mut entries: Vec<_>| {
            entries.sort();
            entries
        };
        let expected = std::fs::read_dir(&place.0).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let metadata = facts(entry.metadata().unwrap());
            let (path, name) = (entry.path(), entry.file_name());
            (
                format!("{entry:?}"),
                path,
                name,
                format!("{kind:?}"),
                metadata,
                entry.ino(),
            )
        });
        let found = fs::read_dir(&place.0).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_fifo());
            let metadata = facts(entry.metadata().unwrap());
            let (path, name) = (entry.path(), entry.file_name());
            (
                format!("{entry:?}"),
                path,
                name,
                format!("{kind:?}"),
                metadata,
                entry.ino(),
            )
        });
        assert_eq!(sorted(found.collect()), sorted(expected.collect()));
    });
}

#[test]
fn the_metadata_of_an_entry_that_is_gone_is_not_found() {
    let (place, path) = Place::with("");
    corde::run(move || {
        let entry = fs::read_dir(&place.0).unwrap().next().unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(entry.metadata().unwrap_err().kind(), ErrorKind::NotFound);
        assert!(entry.file_type().unwrap().is_file());
    });
}
