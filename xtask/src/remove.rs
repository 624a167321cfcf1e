//! Removing what a demo or a measurement made, from outside of it: when it is interrupted, or after `--keep`.

use std::process::Command;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

/// A shell script that ends and removes everything that the process `pid` made, known by its names.
pub(crate) fn script(pid: u32) -> String {
    let directories = std::env::temp_dir().join(format!("xlb-{pid}-"));
    let directories = directories.display();
    format!(
        r#"#!/bin/sh
for namespace in $(ip netns list | grep -o '^xlb-{pid}-[^ ]*'); do
    ip netns pids "$namespace" | xargs -r kill -9
    ip netns delete "$namespace"
done
umount -l {directories}*/bpf
rm -r {directories}*
"#
    )
}

/// Runs the script and exits when the user presses Ctrl-C or someone ends us.
pub(crate) fn when_interrupted(script: &str) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Every thread made from now on inherits this; programs that run until they are ended do not: see `Process`.
    signals.thread_block()?;
    let script = script.to_owned();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("\n{signal}: removing what was made");
            // There is nobody left to tell of a failure.
            let _ = Command::new("sh").arg("-c").arg(script).status();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}
