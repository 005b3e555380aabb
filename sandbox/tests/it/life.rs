//! How jobs start, speak and end.
use std::fs;
use std::io;

use tokio::io::AsyncWriteExt;
use tunesmith_sandbox::{Cancel, Ended, Job, Line, Mechanism, Stdin};

use crate::support::{Place, confined, run, shell};

#[tokio::test]
async fn an_exit_code_is_reported() {
    let (finished, _) = Place::new().run(shell("exit 3")).await;
    assert_eq!((finished.ended.clone(), finished.success()), (Ended::Exit(3), false));
    assert!(Place::new().run(shell("true")).await.0.success());
}

#[tokio::test]
async fn a_signal_is_reported() {
    assert_eq!(Place::new().run(shell("kill -TERM $$")).await.0.ended, Ended::Signal(15));
}

#[tokio::test]
async fn the_layers_of_the_job_are_reported() {
    assert_eq!(Place::new().run(shell("true")).await.0.layers, confined().layers());
}

#[tokio::test]
async fn input_arrives_whole_and_ends() {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let place = Place::new();
    let mut job = shell("cat > copy");
    job.stdin = Stdin::Bytes(bytes.clone());
    assert_eq!(place.run(job).await.0.ended, Ended::Exit(0));
    assert_eq!(fs::read(place.dir.path().join("copy")).unwrap(), bytes);
}

#[tokio::test]
async fn without_input_there_is_nothing_to_read() {
    let (finished, output) = Place::new().run(shell("wc -c")).await;
    assert_eq!((finished.ended, output), (Ended::Exit(0), vec!["0".to_string()]));
}

#[tokio::test]
async fn lines_arrive_in_order_and_none_is_lost() {
    let (_, output) = Place::new().run(shell("seq 1 20000; printf last")).await;
    let mut expected: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
    expected.push("last".into());
    assert_eq!(output, expected);
}

#[tokio::test]
async fn a_line_arrives_while_the_job_runs() {
    let place = Place::new();
    let mut running = confined().spawn(&place.dir, shell("echo out; echo err >&2; sleep 30")).unwrap();
    let mut lines = [running.lines.recv().await.unwrap(), running.lines.recv().await.unwrap()];
    lines.sort_by_key(|line| matches!(line, Line::Err(_)));
    assert_eq!(lines, [Line::Out("out".into()), Line::Err("err".into())]);
    running.cancel();
    assert_eq!(running.wait().await.ended, Ended::Cancelled);
}

#[tokio::test]
async fn bytes_that_are_not_text_are_replaced() {
    let (_, output) = Place::new().run(shell(r"printf 'a\377b\n'")).await;
    assert_eq!(output, ["a\u{fffd}b"]);
}

#[tokio::test]
async fn a_long_line_arrives_in_pieces() {
    let (_, output) = Place::new().run(shell("head -c 3000000 /dev/zero | tr '\\0' a")).await;
    assert!(output.len() > 2 && output.iter().all(|piece| piece.len() < (1 << 20) + (16 << 10)));
    assert_eq!(output.concat(), "a".repeat(3_000_000));
}

#[tokio::test]
async fn a_job_may_have_longer_lines() {
    let mut job = shell("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end");
    job.line_bytes = 4_000_000;
    let (_, output) = Place::new().run(job).await;
    assert_eq!(output, ["a".repeat(3_000_000), "end".into()]);
}

#[tokio::test]
async fn the_environment_is_fixed_but_for_what_the_job_adds() {
    let place = Place::new();
    let root = place.dir.path().display();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string();
    let expected = ["ADDED=yes".to_string(), format!("HOME={root}"), "LANG=C.UTF-8".into(), path];
    let mut job = Job::new(["env"]);
    job.env.insert("ADDED".into(), "yes".into());
    for local in [confined(), confined().unconfined()] {
        let (_, mut output) = run(&local, &place.dir, job.clone()).await;
        output.sort();
        let temporary = output.pop().unwrap();
        assert_eq!(output, expected, "confined: {}", local.is_confined());
        assert!(temporary == "TMPDIR=/tmp" || temporary.starts_with(&format!("TMPDIR={root}/.tmp/")), "{temporary}");
    }
}

#[tokio::test]
async fn a_link_in_place_of_the_directory_for_temporary_files_is_replaced() {
    let place = Place::new();
    std::os::unix::fs::symlink(place.outside(), place.dir.path().join(".tmp")).unwrap();
    let (finished, _) = place.run(shell("echo x > $TMPDIR/file && test ! -L .tmp")).await;
    assert_eq!(finished.ended, Ended::Exit(0));
    assert_eq!(fs::read_dir(place.outside()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_an_error_at_once() {
    let place = Place::new();
    for name in ["no-such-program", "./no-such-program", "/no/such/program"] {
        let error = confined().spawn(&place.dir, Job::new([name])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
    let none = confined().spawn(&place.dir, Job::new::<String>([])).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_file_that_is_no_program_fails() {
    let place = Place::new();
    fs::write(place.dir.path().join("text"), "text").unwrap();
    let (finished, _) = place.run(Job::new(["./text"])).await;
    assert!(matches!(&finished.ended, Ended::Failed(why) if why.contains("cannot run")), "{finished:?}");
}

#[tokio::test]
async fn a_raised_flag_ends_the_job() {
    let place = Place::new();
    let (flag, running) = (Cancel::default(), confined().spawn(&place.dir, shell("sleep 30")).unwrap());
    running.cancel_on(&flag);
    flag.cancel();
    assert!(flag.is_cancelled());
    assert_eq!(running.wait().await.ended, Ended::Cancelled);
}

#[test]
fn a_job_survives_serialisation() {
    let mut job = shell("true");
    job.stdin = Stdin::Bytes(vec![0, 255]);
    let text = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    assert_eq!(serde_json::from_str::<Job>(r#"{"argv":["true"]}"#).unwrap(), Job::new(["true"]));
}

#[tokio::test]
async fn an_open_input_answers_line_by_line_and_ends_when_it_is_dropped() {
    for local in [confined(), confined().without(Mechanism::Namespaces), confined().unconfined()] {
        let place = Place::new();
        let mut job = shell("while read -r word; do echo \"got $word\"; done; echo end");
        job.stdin = Stdin::Open;
        let mut running = local.spawn(&place.dir, job).unwrap();
        let mut stdin = running.stdin.take().unwrap();
        for word in ["one", "two"] {
            stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
            assert_eq!(running.lines.recv().await, Some(Line::Out(format!("got {word}"))));
        }
        drop(stdin);
        assert_eq!(running.lines.recv().await, Some(Line::Out("end".into())));
        assert_eq!(running.wait().await.ended, Ended::Exit(0));
    }
}
