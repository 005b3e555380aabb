//! Attempts to reach out of the workdir. Each is made a second time with confinement off, where it must succeed.
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use tunesmith_sandbox::{Ended, Job, Layer, Line, Mechanism, Net, Status};

use crate::support::{ESCAPED, PROBE, Place, STOPPED, companion, confined, run, shell};

const ONLY_WHEN_OPEN: (Ended, Ended) = (STOPPED, ESCAPED);

#[tokio::test]
async fn a_file_outside_cannot_be_read() {
    let place = Place::new();
    assert_eq!(place.attempt("read", place.canary().to_str().unwrap()).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn a_file_outside_cannot_be_written() {
    let place = Place::new();
    let job = Job::new([companion().as_str(), PROBE, "write", place.canary().to_str().unwrap()]);
    assert_eq!(place.run(job.clone()).await.0.ended, STOPPED);
    assert_eq!(fs::read_to_string(place.canary()).unwrap(), "canary");
    assert_eq!(run(&confined().unconfined(), &place.dir, job).await.0.ended, ESCAPED);
    assert_eq!(fs::read_to_string(place.canary()).unwrap(), "escaped");
}

#[tokio::test]
async fn a_link_in_the_workdir_does_not_lead_a_write_outside() {
    let place = Place::new();
    let job = Job::new([companion().as_str(), PROBE, "link", place.canary().to_str().unwrap()]);
    assert_eq!(place.run(job.clone()).await.0.ended, STOPPED);
    assert_eq!(fs::read_to_string(place.canary()).unwrap(), "canary");
    fs::remove_file(place.dir.path().join("link")).unwrap();
    assert_eq!(run(&confined().unconfined(), &place.dir, job).await.0.ended, ESCAPED);
}

#[tokio::test]
async fn a_new_file_a_hard_link_and_a_truncation_outside_are_denied() {
    let place = Place::new();
    let script = "touch $OUT/new; ln $OUT/canary hard; true > $OUT/canary; ls $OUT; rm $OUT/canary; echo end";
    let mut job = shell(script);
    job.env.insert("OUT".into(), place.outside().to_str().unwrap().into());
    let (_, output) = place.run(job.clone()).await;
    assert_eq!(output, ["end"]);
    assert_eq!(fs::read_to_string(place.canary()).unwrap(), "canary");
    assert!(!place.dir.path().join("hard").exists());
    let (_, output) = run(&confined().unconfined(), &place.dir, job).await;
    assert_eq!(output, ["canary", "new", "end"]);
}

#[tokio::test]
async fn a_server_on_this_machine_cannot_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(Place::new().attempt("tcp", &address).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn a_server_can_be_reached_by_a_job_that_may() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = Job::new([companion(), PROBE.into(), "tcp".into(), listener.local_addr().unwrap().to_string()]);
    job.net = Net::Full;
    assert_eq!(Place::new().run(job).await.0.ended, ESCAPED);
}

#[tokio::test]
async fn a_datagram_cannot_be_sent() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    assert_eq!(Place::new().attempt("udp", &address).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn a_socket_in_the_file_system_cannot_be_reached() {
    let place = Place::new();
    let path = place.outside().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(place.attempt("socket", path.to_str().unwrap()).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn the_callers_variables_are_not_visible_even_without_confinement() {
    assert_eq!(Place::new().attempt("env", "").await, (STOPPED, STOPPED));
}

#[tokio::test]
async fn the_callers_variables_cannot_be_read_from_its_process() {
    let environ = format!("/proc/{}/environ", std::process::id());
    assert_eq!(Place::new().attempt("read", &environ).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn a_file_that_is_open_in_the_caller_is_not_open_in_the_job() {
    let place = Place::new();
    let job = serde_json::to_string(&Job::new([companion().as_str(), PROBE, "files"])).unwrap();
    // Only a shell leaves a file open across the start of a program without unsafe code.
    let caller = |mode: &str| {
        let script = format!("exec 7</etc/passwd; exec \"$0\" {mode} \"$1\" \"$2\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, &companion(), &job, place.dir.path().to_str().unwrap()]);
        shell.output().unwrap().status.code()
    };
    assert_eq!((caller(""), caller("--open")), (Some(10), Some(0)));
}

#[tokio::test]
async fn the_caller_cannot_be_traced() {
    let place = Place::new();
    let (stopped, escaped) = place.attempt("trace", &std::process::id().to_string()).await;
    // Some distributions deny it to everybody, which proves nothing about the sandbox.
    let denied_to_all = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0");
    assert_eq!(stopped, STOPPED);
    assert_eq!(escaped, if denied_to_all { STOPPED } else { ESCAPED });
}

#[tokio::test]
async fn the_caller_cannot_be_signalled() {
    assert_eq!(Place::new().attempt("signal", &std::process::id().to_string()).await, ONLY_WHEN_OPEN);
}

#[tokio::test]
async fn the_supervisor_cannot_be_signalled() {
    let (_, output) = Place::new().run(shell("kill -0 $PPID || echo denied; kill -0 $$ && echo allowed")).await;
    assert_eq!(output, ["denied", "allowed"]);
}

#[tokio::test]
async fn a_namespace_cannot_be_made() {
    // As root, or where unprivileged namespaces are on, this succeeds outside a sandbox.
    let (_, output) = Place::new().run(shell("unshare --user true 2>/dev/null || echo denied")).await;
    assert_eq!(output, ["denied"]);
}

#[tokio::test]
async fn calls_that_no_job_needs_are_denied() {
    let place = Place::new();
    let job = Job::new([companion().as_str(), PROBE, "calls"]);
    let (finished, output) = place.run(job.clone()).await;
    assert_eq!((finished.ended, output), (STOPPED, vec!["stopped: every call was denied".to_string()]));
    let (_, output) = run(&confined().unconfined(), &place.dir, job).await;
    // What else passes depends on the machine; these need no privilege and are in every kernel.
    for call in ["clone3", "pidfd_getfd", "prlimit64 of the caller", "setns", "ioctl TIOCSTI"] {
        assert!(output[0].contains(call), "{call}: {output:?}");
    }
}

#[tokio::test]
async fn a_job_with_network_is_denied_the_calls_all_the_same() {
    let mut job = Job::new([companion().as_str(), PROBE, "calls"]);
    job.net = Net::Full;
    assert_eq!(Place::new().run(job).await.0.ended, STOPPED);
}

#[tokio::test]
async fn no_program_with_the_set_user_id_bit_is_left_behind() {
    let place = Place::new();
    let script = "cp /bin/true a; cp /bin/true b; mkdir c; chmod 4755 a; chmod g+s b; chmod 2755 c; stat -c %a a b c";
    assert_eq!(place.run(shell(script)).await.1, ["755", "755", "755"]);
    let (_, output) = run(&confined().unconfined(), &place.dir, shell("chmod 4755 a; stat -c %a a")).await;
    assert_eq!(output, ["4755"]);
}

#[tokio::test]
async fn a_job_has_its_own_session_and_no_new_privileges() {
    let place = Place::new();
    // /proc/self is the job's own only for its first process, so that process reads it itself.
    let script = "while read -r key value; do case $key in NoNewPrivs:|Seccomp:|CapEff:) echo $value;; esac; done \
                  </proc/self/status; read -r _ _ _ _ group session _ </proc/self/stat; echo $((group == $$)) $((session == $$))";
    let (_, output) = place.run(shell(script)).await;
    assert_eq!(output, ["0000000000000000", "1", "2", "1 1"]);
}

#[tokio::test]
async fn a_link_in_place_of_temporary_files_has_nothing_removed_outside() {
    for local in [confined(), confined().without(Mechanism::Namespaces)] {
        let place = Place::new();
        let script = "ls .tmp; until test -e go; do :; done; mv .tmp old; ln -s \"$OUT\" .tmp";
        let mut job = shell(script);
        job.env.insert("OUT".into(), place.outside().to_str().unwrap().into());
        let mut running = local.spawn(&place.dir, job).unwrap();
        let Some(Line::Out(name)) = running.lines.recv().await else { panic!("the job says its directory's name") };
        let kept = place.outside().join(name).join("kept");
        fs::create_dir(kept.parent().unwrap()).unwrap();
        fs::write(&kept, "kept").unwrap();
        fs::write(place.dir.path().join("go"), "").unwrap();
        assert_eq!(running.wait().await.ended, Ended::Exit(0));
        assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
    }
}

#[tokio::test]
async fn a_link_in_the_workdir_does_not_say_what_is_run() {
    let place = Place::new();
    std::os::unix::fs::symlink("/bin/true", place.dir.path().join("run")).unwrap();
    let error = confined().spawn(&place.dir, Job::new(["./run"])).unwrap_err();
    assert_eq!(error.to_string(), "cannot run `./run`: it leads out of the workdir; give its absolute path");
}

#[tokio::test]
async fn what_somebody_else_owns_can_be_granted_by_root() {
    if !crate::support::is_root() {
        return;
    }
    let place = Place::new();
    let theirs = place.outside().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "theirs").unwrap();
    for path in [theirs.join("file"), theirs.clone()] {
        std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
    }
    fs::set_permissions(&theirs, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let job = |granted: &Path| Job {
        writes: vec![granted.into()],
        ..shell(&format!("cat {0}/file; echo x > {0}/new", theirs.display()))
    };
    let (finished, output) = place.run(job(&theirs)).await;
    assert_eq!((finished.ended, output), (Ended::Exit(0), vec!["theirs".to_string()]));
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(theirs.join("new")).unwrap()), 1000);
}

#[tokio::test]
async fn reads_and_writes_are_granted_one_by_one() {
    let place = Place::new();
    let canary = place.canary().to_str().unwrap().to_string();
    let job = |name: &str| Job::new([companion().as_str(), PROBE, name, &canary]);
    let readable = Job { reads: vec![canary.clone().into()], ..job("read") };
    let not_writable = Job { reads: vec![canary.clone().into()], ..job("write") };
    let writable = Job { writes: vec![canary.clone().into()], ..job("write") };
    assert_eq!(place.run(readable).await.0.ended, ESCAPED);
    assert_eq!(place.run(not_writable).await.0.ended, STOPPED);
    assert_eq!(place.run(writable).await.0.ended, ESCAPED);
}

#[tokio::test]
async fn the_self_test_finds_what_is_declared_in_every_mode() {
    use Mechanism::{Landlock, Namespaces};
    let modes: [&[_]; 4] = [&[], &[Namespaces], &[Landlock], &[Namespaces, Landlock]];
    for left_out in modes {
        let local = left_out.iter().fold(confined(), |local, mechanism| local.without(*mechanism));
        let layers = local.layers();
        let checks = local.doctor().await.unwrap();
        let differing: Vec<_> =
            checks.iter().filter(|check| !layers.contains(&(check.layer, check.status.clone()))).collect();
        assert!(differing.is_empty(), "without {left_out:?}: {differing:?}");
        assert!(Layer::ALL.iter().all(|layer| checks.iter().any(|check| check.layer == *layer)), "{checks:?}");
    }
    assert_eq!(confined().missing(), []);
}

#[tokio::test]
async fn the_self_test_sees_that_confinement_is_off() {
    let local = confined().unconfined();
    let off = Status::Unavailable("confinement is switched off".into());
    let checks = local.doctor().await.unwrap();
    for layer in [Layer::Files, Layer::Network, Layer::Signals] {
        assert!(checks.iter().any(|check| check.layer == layer && check.status == off), "{layer}: {checks:?}");
    }
    assert!(local.missing().contains(&(Layer::Files, off)));
}
