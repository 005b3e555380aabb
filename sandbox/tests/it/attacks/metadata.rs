//! Names, modes, times and attributes of files outside.
use std::fs;
use std::os::unix::fs::MetadataExt;

use tunesmith_sandbox::Layer::Metadata;

use super::attack::{Attack, got_through, program, shell, told_secret};
use super::place::Run;

fn mode_changed(run: &Run) -> bool {
    fs::metadata(run.outside("canary")).unwrap().mode() & 0o777 != 0o644
}

pub fn all() -> Vec<Attack> {
    let no_attributes = "the file system has no attributes of users";
    vec![
        shell("chmod", Metadata, "chmod 600 \"$OUT/canary\"", mode_changed),
        shell("chmod through a link", Metadata, "ln -s \"$OUT/canary\" link; chmod 600 link", mode_changed),
        shell("chmod by /proc/self/root", Metadata, "chmod 600 \"/proc/self/root$OUT/canary\"", mode_changed),
        program("chmod-path-descriptor", Metadata, mode_changed),
        shell("change the times", Metadata, "touch -d 2001-02-03 \"$OUT/canary\"", |run| {
            fs::metadata(run.outside("canary")).unwrap().mtime() < 1_000_000_000
        }),
        shell("change the owner", Metadata, "chown 12345 \"$OUT/canary\"", |run| {
            fs::metadata(run.outside("canary")).unwrap().uid() == 12345
        })
        .root("only root may give files away"),
        program("setxattr", Metadata, got_through).kernel(no_attributes),
        program("getxattr", Metadata, told_secret).host("attribute").kernel(no_attributes),
        shell("see the size of a file", Metadata, "stat -c size=%s \"$OUT/sized\"", |run| {
            run.output.contains(&format!("size={}", run.size))
        }),
        shell("see where a link leads", Metadata, "readlink \"$OUT/link\"", told_secret),
        shell("ask whether a file exists", Metadata, "test -e \"$OUT/canary\" && echo \"$TOKEN\"", got_through),
        program("inotify", Metadata, told_secret).host("noise"),
    ]
}
