//! The command line as types: the one definition behind parsing and `--help`.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use colorchoice_clap::Color;

use crate::{cli::help, config::Source, transport::Listen};

/// A web server for files and CGI scripts.
///
/// Without a verb, `pywebd` serves the folder `www` of the current directory and runs the
/// programs in its cgi-bin.
#[derive(Debug, Parser)]
#[command(name = "pywebd", version, after_help = help::PROGRAM, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,

    /// Whether output is colored.
    #[command(flatten)]
    pub color: Color,
}

/// The configuration that verbs use unless another is named.
const CONFIG: &str = "/etc/pywebd/pywebd.toml";

/// The kernel takes no longer path of a socket (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve in the foreground: a directory, or what a configuration says
    #[command(after_help = help::SERVE)]
    Serve(Serve),
    /// Report every error and warning of a configuration
    #[command(after_help = help::CHECK)]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = CONFIG, value_hint = ValueHint::FilePath)]
        config: ConfigFile,
        /// Fail on warnings as well
        #[arg(long)]
        strict: bool,
    },
    /// Show the effective configuration, and where each value comes from
    #[command(after_help = help::SHOW)]
    Show {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = CONFIG, value_hint = ValueHint::FilePath)]
        config: ConfigFile,
    },
    /// Tell what a reload would change in the server that runs
    #[command(after_help = help::DIFF)]
    Diff(Running),
    /// Have the server that runs read its configuration again, and tell what has changed
    #[command(after_help = help::RELOAD)]
    Reload(Running),
    /// Tell how the server that runs does
    #[command(after_help = help::STATUS)]
    Status {
        /// The server.
        #[command(flatten)]
        server: Running,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain what a request would come to, step by step
    #[command(after_help = help::EXPLAIN)]
    Explain(Explain),
    /// Start scripts for a server: not for people
    #[command(hide = true)]
    Launcher(Launcher),
    /// Print what has a shell complete the command line
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// Fish.
    Fish,
}

/// What the launcher is told by the process that starts it.
#[derive(Debug, Args)]
pub struct Launcher {
    /// What is served.
    #[command(flatten)]
    pub serve: Serve,
    /// End when this process does
    #[arg(long, value_name = "PID")]
    pub parent: Option<u32>,
}

/// What to serve.
#[derive(Debug, Args, Clone)]
pub struct Serve {
    /// The directory to serve; the current one unless --config is given
    #[arg(value_name = "DIR", conflicts_with = "config", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// Where to listen: ADDRESS:PORT or unix:PATH; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:8000",
        conflicts_with = "config",
        value_hint = ValueHint::Other
    )]
    pub listen: Listen,
    /// Run the programs below /cgi-bin/, /htbin/ and /ht-bin/
    #[arg(long, conflicts_with = "config")]
    pub cgi: bool,
    /// Serve what this configuration file says
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Have scripts started by the launcher that listens on this socket, as
    /// that of pywebd-cgi.socket, instead of one of its own
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub launcher: Option<PathBuf>,
    /// Where `pywebd reload`, `diff` and `status` reach this server; with --config there is a
    /// usual place
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<ControlPath>,
}

/// A server that runs.
#[derive(Debug, Args)]
pub struct Running {
    /// The server's control socket, where it is not in its usual place
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control: Option<ControlPath>,
}

/// What to explain.
#[derive(Debug, Args)]
pub struct Explain {
    /// The URL, or a path for the host `localhost`
    #[arg(value_hint = ValueHint::Url)]
    pub url: String,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG, value_hint = ValueHint::FilePath)]
    pub config: ConfigFile,
    /// The method of the request
    #[arg(long, default_value = "GET", value_hint = ValueHint::Other)]
    pub method: http::Method,
    /// The address of the client
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", value_hint = ValueHint::Other)]
    pub client: IpAddr,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The path of a control socket.
#[derive(Debug, Clone)]
pub struct ControlPath(pub PathBuf);

impl FromStr for ControlPath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("a control socket needs an absolute path".into());
        }
        if path.len() > LONGEST_SOCKET {
            return Err(format!(
                "the path of a socket has at most {LONGEST_SOCKET} bytes"
            ));
        }
        Ok(Self(path.into()))
    }
}

/// A configuration named on the command line.
#[derive(Debug, Clone)]
pub struct ConfigFile(PathBuf);

impl From<String> for ConfigFile {
    fn from(path: String) -> Self {
        Self(path.into())
    }
}

impl ConfigFile {
    /// The file, if it is there; else a line that says so.
    pub fn source(self) -> Result<Source, String> {
        if self.0.exists() {
            return Ok(Source::File(self.0));
        }
        Err(format!("{}: no such file", self.0.display()))
    }
}
