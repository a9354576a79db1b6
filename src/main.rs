//! The `pywebd` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pywebd::cli::main()
}
