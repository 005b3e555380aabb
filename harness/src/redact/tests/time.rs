//! How the time grows: always as a ratio of two, because machines differ.

use super::*;

/// Asserts that four times as much takes less than eight times as long. Something else may run at any moment, so both
/// are tried again until they were left alone once.
fn grows_evenly(what: &str, least: usize, work: impl Fn(usize)) {
    let time = |size: usize| {
        let began = std::time::Instant::now();
        work(size);
        began.elapsed().as_secs_f64()
    };
    let (mut short, mut long) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..300 {
        (short, long) = (short.min(time(least)), long.min(time(4 * least)));
        if long < 8.0 * short {
            return;
        }
    }
    panic!("{what}: {short} s, and {long} s for four times as much");
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
        "token".into(),
        "token = ".into(),
        "token: a ".into(),
        "api_key=a1".into(),
        ["password=\"", "a1b2c3d4"].concat(),
        ["PASSWORD=", "a1b2c3d4 "].concat(),
        "--token ".into(),
        "A_KEY".into(),
        "login a password ".into(),
        "username\":\"a\",\"key\":\"".into(),
        "eyJaaaaaaaaaa.".into(),
    ];
    for piece in pieces {
        // Long enough that the expressions' engine takes the same way for both: up to some thousand bytes it has a
        // table of where it was, which is faster by a constant.
        grows_evenly(&piece, 32_000, |bytes| {
            let text = piece.repeat(bytes / piece.len());
            drop(redactor.text(&text).into_owned());
        });
    }
}

#[test]
fn a_stream_takes_as_long_for_each_piece_however_much_came_before() {
    grows_evenly("a stream", 200, |pieces| {
        let mut stream = Stream::default();
        for _ in 0..pieces {
            stream.push("a wo");
            stream.push("rd, and ");
        }
        assert_eq!(stream.finish(), "a word, and ".repeat(pieces));
    });
}
