//! How the time grows: always as a ratio of two, because machines differ.

use super::*;

/// Seconds of the fastest of five times.
fn seconds(work: impl Fn()) -> f64 {
    let once = || {
        let began = std::time::Instant::now();
        work();
        began.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}

#[test]
fn the_time_grows_as_the_text_does_however_hostile_it_is() {
    let mut redactor = Redactor::new();
    redactor.add("aaaaaaaaaaaaaaaa");
    redactor.add("ab ab ab ab ab");
    let key = "-----BEGIN PRIVATE KEY-----";
    let pieces = [
        format!("{key}AAAAAAAAAAAAAAAA "),
        format!("{key} "),
        format!("{key}\\n"),
        format!("{key}(-----END PRIVATE KEY-----"),
        "-----BEGIN A ".into(),
        "-----END A ".into(),
        "authorization: bearer ".into(),
        "authorization:".into(),
        "x-api-key: ".into(),
        "a://b:c".into(),
        "a://".into(),
        "a:b@".into(),
        "sk-aB3-".into(),
        "hf_".into(),
        "ghp_github_pat_".into(),
        "glpat-xoxb-".into(),
        "AKIAASIAAIza".into(),
        "a".into(),
        "ab ".into(),
        "%61".into(),
        "%".into(),
        "\\n".into(),
    ];
    for piece in pieces {
        let time = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            seconds(|| drop(redactor.text(&text).into_owned()))
        };
        let (short, long) = (time(100_000), time(400_000));
        assert!(long < 8.0 * short, "{piece:?}: {short} s, and {long} s for four times as much");
    }
}

#[test]
fn a_stream_takes_as_long_for_each_piece_however_much_came_before() {
    let time = |pieces: usize| {
        seconds(|| {
            let mut stream = Stream::default();
            for _ in 0..pieces {
                stream.push("a wo");
                stream.push("rd, and ");
            }
            assert_eq!(stream.finish(), "a word, and ".repeat(pieces));
        })
    };
    let (short, long) = (time(1000), time(4000));
    assert!(long < 8.0 * short, "{short} s, and {long} s for four times as much");
}
