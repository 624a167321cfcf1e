//! A real web server: nginx with a configuration of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Namespace, Process, wait_until};

/// The port that every web server listens on, for IPv4 and IPv6; on 80 and 443 too, without TLS.
pub const PORT: u16 = 8080;

/// Starts nginx in `namespace`; its files are below `directory`, which is made.
///
/// `/` answers with the server's name, `/files/NAME` with a file of the directory `files`, `/slow/NAME` with the same at 256 kB/s.
pub fn start(namespace: &Namespace, name: &str, directory: &Path, files: &Path) -> Result<Process> {
    std::fs::create_dir_all(directory)?;
    let configuration = directory.join("nginx.conf");
    std::fs::write(&configuration, render(name, directory, files))
        .with_context(|| format!("cannot write {}", configuration.display()))?;
    let mut command = namespace.command("nginx");
    command.arg("-e").arg(directory.join("error.log")).arg("-p").arg(directory).arg("-c").arg(&configuration);
    let mut process = Process::start(command, &directory.join("log"))?;
    let listening =
        || namespace.run("ss", &format!("-Hltn sport = :{PORT}")).is_ok_and(|lines| !lines.is_empty());
    wait_until(&format!("nginx {name} to listen"), Duration::from_secs(10), || {
        !process.is_running() || listening()
    })?;
    anyhow::ensure!(process.is_running(), "nginx {name} ended: {}", process.log());
    Ok(process)
}

fn render(name: &str, directory: &Path, files: &Path) -> String {
    let (directory, files) = (directory.display(), files.display());
    format!(
        r#"daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {PORT} backlog=4096;
        listen [::]:{PORT} backlog=4096;
        listen 80;
        listen 443;
        default_type text/plain;
        location / {{ return 200 "{name}\n"; }}
        location /files/ {{ alias {files}/; sendfile on; }}
        location /slow/ {{ alias {files}/; limit_rate 256k; }}
    }}
}}
"#
    )
}
