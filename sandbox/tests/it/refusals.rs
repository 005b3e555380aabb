//! Jobs and workdirs that make no sense are refused by name, before anything is started.
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind::{self, InvalidInput, NotFound};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tunesmith_sandbox::{Job, Layer, Limits, Workdir};

use crate::support::{Place, confined};

/// What starting this job says.
fn refusal(place: &Place, job: Job) -> (ErrorKind, String) {
    let error = confined().spawn(&place.dir, job).unwrap_err();
    (error.kind(), error.to_string())
}

fn invalid(why: impl Into<String>) -> (ErrorKind, String) {
    (InvalidInput, why.into())
}

fn job() -> Job {
    Job::new(["true"])
}

#[test]
fn workdirs() {
    let place = Place::new();
    let at = |path: &Path| Workdir::open(path).map_err(|error| (error.kind(), error.to_string())).unwrap_err();
    let missing = place.outside().join("missing");
    let said = |path: &Path, why: &str| format!("{} cannot be a workdir: {why}", path.display());
    assert_eq!(at(&missing), (NotFound, said(&missing, "it does not exist; make it first")));
    assert_eq!(at(&place.canary()), invalid(said(&place.canary(), "it is not a directory; name one")));
    let root = Path::new("/");
    assert_eq!(at(root), invalid(said(root, "jobs may write all of it; choose a directory of its own")));
}

#[tokio::test]
async fn the_systems_own_directories() {
    let place = Place::new();
    let everything = Job { reads: vec!["/".into()], ..job() };
    assert_eq!(refusal(&place, everything), invalid("reads: `/` is everything; name what the job needs"));
    for path in ["/etc", "/usr", "/proc", "/dev"] {
        let why = |what: &str| invalid(format!("{what} `{path}` is the system's own; name another directory"));
        let dir = Workdir::open(Path::new(path)).unwrap();
        let error = confined().spawn(&dir, job()).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), why("the workdir"));
        assert_eq!(refusal(&place, Job { writes: vec![path.into()], ..job() }), why("writes:"));
    }
}

#[tokio::test]
async fn commands() {
    let place = Place::new();
    let nothing = invalid("the command is empty; name a program");
    assert_eq!(refusal(&place, Job::new::<String>([])), nothing);
    assert_eq!(refusal(&place, Job::new([""])), nothing);
    assert_eq!(refusal(&place, Job::new(["true", "a\0b"])), invalid("argv[1] contains a NUL byte; remove it"));
    let with = |name: &str, value: &str| Job { env: BTreeMap::from([(name.into(), value.into())]), ..job() };
    for (name, shown) in [("", r#""""#), ("A=B", r#""A=B""#), ("A\0", r#""A\0""#)] {
        let why = format!("{shown} cannot name a variable; use a name without `=` and NUL bytes");
        assert_eq!(refusal(&place, with(name, "x")), invalid(why));
    }
    let value = "the value of the variable NAME contains a NUL byte; remove it";
    assert_eq!(refusal(&place, with("NAME", "a\0")), invalid(value));
}

#[tokio::test]
async fn limits_of_zero() {
    let place = Place::new();
    let (none, nothing) = (Limits::default, Some(Duration::ZERO));
    let zero = [
        ("wall", Limits { wall: nothing, ..none() }),
        ("cpu", Limits { cpu: nothing, ..none() }),
        ("memory", Limits { memory: Some(0), ..none() }),
        ("processes", Limits { processes: Some(0), ..none() }),
        ("file_bytes", Limits { file_bytes: Some(0), ..none() }),
        ("disk_bytes", Limits { disk_bytes: Some(0), ..none() }),
        ("files", Limits { files: Some(0), ..none() }),
        ("output_bytes", Limits { output_bytes: Some(0), ..none() }),
    ];
    for (name, limits) in zero {
        let job = Job { limits, ..job() };
        let why = format!("limits.{name} is zero; leave it out or give at least 1");
        assert_eq!(refusal(&place, job), invalid(why));
    }
    let lines = refusal(&place, Job { line_bytes: 0, ..job() });
    assert_eq!(lines, invalid("line_bytes is zero; leave it out or give at least 1"));
}

#[tokio::test]
async fn paths() {
    let place = Place::new();
    let reads = |paths: Vec<PathBuf>| refusal(&place, Job { reads: paths, ..job() });
    let writes = |path: &Path| refusal(&place, Job { writes: vec![path.into()], ..job() });
    assert_eq!(reads(vec!["a".into()]), invalid("reads: `a` is relative; give an absolute path"));
    assert_eq!(writes(Path::new("../a")), invalid("writes: `../a` is relative; give an absolute path"));
    let many = "reads has 4097 paths, more than 4096; name a directory above them";
    assert_eq!(reads(vec!["/usr/lib".into(); 4097]), invalid(many));
    let missing = place.outside().join("missing");
    let why = "No such file or directory (os error 2); name a file or directory that is there";
    assert_eq!(writes(&missing), (NotFound, format!("writes: cannot grant `{}`: {why}", missing.display())));
    let above = place.dir.path().parent().unwrap();
    // A way around leads to the same place, and so does a link.
    let around = above.join("..").join(above.file_name().unwrap());
    std::os::unix::fs::symlink(above, place.outside().join("link")).unwrap();
    for path in [Path::new("/"), above, &around, &place.outside().join("link")] {
        let why = "holds the workdir and what is beside it; name a directory of its own";
        assert_eq!(writes(path), invalid(format!("writes: `{}` {why}", path.display())));
    }
}

#[tokio::test]
async fn what_is_not_refused_runs() {
    let place = Place::new();
    fs::create_dir(place.dir.path().join("below")).unwrap();
    let writes = vec![place.dir.path().into(), place.dir.path().join("below"), place.outside().into()];
    // Reads that are missing are left out, so that a list of places to look at can be given.
    let reads = vec!["/no/such/place".into(); 4096];
    let least = Limits { processes: Some(1), wall: Some(Duration::from_secs(60)), ..Limits::default() };
    let (finished, _) = place.run(Job { writes, reads, limits: least, ..job() }).await;
    assert!(finished.success(), "{finished:?}");
}

#[test]
fn fields_and_names_that_do_not_exist() {
    let wrong = |text: &str| serde_json::from_str::<Job>(text).unwrap_err().to_string();
    assert!(wrong(r#"{"argv":["true"],"read":[]}"#).starts_with("unknown field `read`, expected one of `argv`"));
    let limit = wrong(r#"{"argv":["true"],"limits":{"ram":1}}"#);
    assert!(limit.starts_with("unknown field `ram`, expected one of `wall`"), "{limit}");
    assert!(wrong(r#"{"argv":["true"],"net":"all"}"#).starts_with("unknown variant `all`"));
    assert_eq!(
        wrong(r#"{"argv":["true"],"limits":{"memory":-1}}"#).split(',').next(),
        Some("invalid value: integer `-1`")
    );
    let layer = "file".parse::<Layer>().unwrap_err().to_string();
    assert!(layer.starts_with("there is no layer `file`; the layers are files, "), "{layer}");
}
