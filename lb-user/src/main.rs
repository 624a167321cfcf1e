//! The command `xlb`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_user::command::main()
}
