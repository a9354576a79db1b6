"""The servers: how each is configured to serve a directory with one worker and no log, as its
documentation says, and how it is started, waited for and ended.

Each has what its packages bring by default, but for requests and connections without a limit. None
needs root.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import process

# A start or an end that takes longer fails, in seconds.
HANG = 20
AGAIN = 0.002

# So many lines of what a server said stand in the message that it does not answer.
LINES = 5

# Where Debian has programs that are not for everybody.
PLACES = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"

# What is known of other servers' files at most, and descriptors.
MANY = 20_000


@dataclass
class Setup:
    """What is to be served, and how."""

    root: Path
    workers: int = 1
    # At once; some servers have memory for each from the start.
    connections: int = 1024
    scripts: bool = False
    # Hosts, each with the root that it has.
    sites: dict = field(default_factory=dict)
    # What `floor` does.
    floor: tuple = ()


def find(program):
    return shutil.which(program, path=PLACES)


class Server:
    """A way to serve: its programs, its version, and `configure`, which writes a configuration into
    a directory and returns the command lines to start."""

    name = ""
    programs = ()
    version_of = ("--version",)
    # Whether it can do these works.
    records = False
    has_scripts = False
    has_sites = False
    has_workers = False
    # How a changed configuration is taken up.
    reload_by = signal.SIGHUP
    environment = {}

    def missing(self, setup):
        """The programs that are not installed."""
        return [program for program in self.needs(setup) if not find(program)]

    def needs(self, setup):
        return self.programs

    def version(self):
        command = [find(self.programs[0]), *self.version_of]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
        words = (outcome.stdout + outcome.stderr).replace("/", " ").split()
        return next((word for word in words if word[:1].isdigit()), "?").rstrip(",")

    def check(self, directory):
        """The command that checks the configuration."""
        raise NotImplementedError(self.name)

    def reload(self, running):
        running.leader.send_signal(self.reload_by)


class Pywebd(Server):
    """pywebd; with `log = "journal"`, each request is written to the journal."""

    has_scripts = has_sites = has_workers = True

    def __init__(self, program, log="off"):
        self.programs = (str(program),)
        self.log = log
        self.records = log != "off"
        self.name = "pywebd" if log == "off" else f"pywebd with {log}"

    def configure(self, setup, directory, port):
        sites = setup.sites or {"*": setup.root}
        (directory / "pywebd.toml").write_text(
            f'version = 1\n[server]\nlisten = ["127.0.0.1:{port}"]\nworkers = {setup.workers}\n'
            f'[log]\naccess = "{self.log}"\n[limits]\nconnections = {setup.connections}\n'
            + "".join(
                f'[site.s{number}]\nhosts = ["{host}"]\nroot = "{root}"\n'
                for number, (host, root) in enumerate(sites.items())
            )
            + ('[site.s0.path."/cgi-bin/"]\ncgi = true\n' if setup.scripts else "")
        )
        command = [*self.call("serve", directory), "--control", directory / "control"]
        return [[*own_run(directory / "run"), *command] if self.records else command]

    def call(self, verb, directory):
        return [self.programs[0], verb, "--config", directory / "pywebd.toml"]

    def check(self, directory):
        return self.call("check", directory)

    def reload(self, running):
        command = [self.programs[0], "reload", "--control", running.control]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=HANG)


def own_run(directory):
    """What a command begins with that has another /run."""
    mapped = ["--map-root-user"] if os.geteuid() else []
    return ["unshare", *mapped, "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', directory]


class Nginx(Server):
    """nginx; with `cached`, it keeps files open for a minute without a look at what becomes of them."""

    programs = ("nginx",)
    version_of = ("-v",)
    has_scripts = has_sites = has_workers = True

    def __init__(self, cached=False):
        self.name = "nginx with open_file_cache" if cached else "nginx"
        self.has_scripts = self.has_sites = self.has_workers = not cached
        self.cached = cached

    def needs(self, setup):
        return (*self.programs, *(("fcgiwrap",) if setup.scripts else ()))

    def configure(self, setup, directory, port):
        temporary = "".join(
            f"{kind}_temp_path {directory}/{kind};\n"
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        )
        cache = f"open_file_cache max={MANY};\nopen_file_cache_valid 60s;\n" if self.cached else ""
        account = "user root;\n" if os.geteuid() == 0 else ""
        script = (
            f"location /cgi-bin/ {{ include {FASTCGI}; gzip off;\n"
            f"fastcgi_pass unix:{directory}/fcgi; }}\n"
        )
        sites = "".join(
            f"server {{ listen 127.0.0.1:{port}; server_name {host}; root {root};\n"
            f"{script if setup.scripts else ''}}}\n"
            for host, root in (setup.sites or {"_": setup.root}).items()
        )
        (directory / "nginx.conf").write_text(
            f"{account}daemon off;\npid {directory}/pid;\nworker_processes {setup.workers};\n"
            f"worker_rlimit_nofile {MANY};\nevents {{ worker_connections {setup.connections}; }}\n"
            f"http {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 1000000000;\n"
            f"types_hash_max_size 2048;\nserver_names_hash_max_size {4 * max(len(setup.sites), 512)};\n"
            f"include /etc/nginx/mime.types;\ndefault_type application/octet-stream;\n"
            f"{temporary}{cache}{sites}}}\n"
        )
        commands = [self.call(directory)]
        if setup.scripts:
            commands.append([find("fcgiwrap"), "-c", "8", "-s", f"unix:{directory}/fcgi"])
        return commands

    def call(self, directory):
        errors = directory / "errors"
        return [find("nginx"), "-e", errors, "-p", directory, "-c", directory / "nginx.conf"]

    def check(self, directory):
        return [*self.call(directory), "-t"]


FASTCGI = "/etc/nginx/fastcgi.conf"


class Lighttpd(Server):
    """lighttpd; of sites with a configuration each it takes a few thousand at most."""

    name = "lighttpd"
    programs = ("lighttpd",)
    version_of = ("-v",)
    has_scripts = True

    def configure(self, setup, directory, port):
        script = (
            'server.modules = ("mod_cgi")\n'
            '$HTTP["url"] =~ "^/cgi-bin/" { cgi.assign = ("" => "") }\n'
        )
        (directory / "lighttpd.conf").write_text(
            f'server.document-root = "{setup.root}"\nserver.bind = "127.0.0.1"\nserver.port = {port}\n'
            f'server.errorlog = "{directory}/errors"\nserver.upload-dirs = ("{directory}")\n'
            f"server.max-fds = {MANY}\nserver.max-connections = {setup.connections}\n"
            f'server.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = 60\n'
            f'mimetype.assign = (".html" => "text/html", "" => "application/octet-stream")\n'
            f'{script if setup.scripts else ""}'
        )
        return [[find("lighttpd"), "-D", "-f", directory / "lighttpd.conf"]]


class Apache(Server):
    """Apache with its event MPM: one process that serves, with threads."""

    name = "Apache"
    programs = ("apache2",)
    version_of = ("-v",)
    has_scripts = has_sites = True
    reload_by = signal.SIGUSR1

    def configure(self, setup, directory, port):
        modules = ["mpm_event", "authz_core", "mime", *(["cgid"] if setup.scripts else [])]
        sites = "".join(
            f"<VirtualHost 127.0.0.1:{port}>\nServerName {host}\nDocumentRoot {root}\n</VirtualHost>\n"
            for host, root in setup.sites.items()
        )
        script = (
            f"<Directory {setup.root}/cgi-bin>\nOptions ExecCGI\nSetHandler cgi-script\n</Directory>\n"
            f"ScriptSock {directory}/cgid\n"
        )
        account = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        (directory / "apache.conf").write_text(
            "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in modules)
            + f"ServerRoot {directory}\nPidFile {directory}/pid\nDefaultRuntimeDir {directory}\n"
            f"ErrorLog {directory}/errors\nServerName localhost\nListen 127.0.0.1:{port}\n{account}"
            f"TypesConfig /etc/mime.types\nDocumentRoot {setup.root}\n"
            f"<Directory />\nAllowOverride None\nRequire all granted\n</Directory>\n"
            f"KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60\n"
            # When all threads are busy it closes idle connections, which clients count as failed.
            f"ServerLimit 1\nStartServers 1\nThreadLimit 128\nThreadsPerChild 128\n"
            f"MaxRequestWorkers 128\nAsyncRequestWorkerFactor {setup.connections // 64}\n"
            f"{script if setup.scripts else ''}{sites}"
        )
        return [[find("apache2"), "-DFOREGROUND", "-f", directory / "apache.conf"]]

    def check(self, directory):
        return [find("apache2"), "-t", "-f", directory / "apache.conf"]


MODULES = "/usr/lib/apache2/modules"


class H2o(Server):
    name = "h2o"
    programs = ("h2o",)
    has_workers = True

    def configure(self, setup, directory, port):
        account = "user: root\n" if os.geteuid() == 0 else ""
        (directory / "h2o.conf").write_text(
            f"num-threads: {setup.workers}\nmax-connections: {setup.connections}\n"
            f"pid-file: {directory}/pid\nerror-log: {directory}/errors\n{account}"
            f'listen:\n  host: 127.0.0.1\n  port: {port}\nhosts:\n  "*":\n    paths:\n'
            f'      "/":\n        file.dir: {setup.root}\n'
        )
        return [[find("h2o"), "-c", directory / "h2o.conf"]]


class Caddy(Server):
    name = "Caddy"
    programs = ("caddy",)
    version_of = ("version",)

    def configure(self, setup, directory, port):
        (directory / "Caddyfile").write_text(
            f"{{\nadmin off\nauto_https off\n}}\n"
            f"http://:{port} {{\nbind 127.0.0.1\nroot * {setup.root}\nfile_server\n}}\n"
        )
        self.environment = {
            "GOMAXPROCS": str(setup.workers),
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        return [[find("caddy"), "run", "--adapter", "caddyfile", "--config", directory / "Caddyfile"]]


class Floor(Server):
    """The bare loop of floor.rs."""

    name = "floor"
    has_scripts = True

    def __init__(self, program):
        self.programs = (str(program),)

    def version(self):
        return ""

    def configure(self, setup, directory, port):
        return [[self.programs[0], str(port), *setup.floor]]


class Running:
    """`with Running(SERVER, SETUP, DIRECTORY) as running:` it serves on `running.port`."""

    def __init__(self, server, setup, directory, processors=None, suffix=""):
        self.server, self.setup = server, setup
        self.directory = Path(directory) / (server.name.replace(" ", "-") + suffix)
        self.directory.mkdir()
        self.directory.chmod(0o755)
        # Of pywebd alone.
        self.control = self.directory / "control"
        self.processors = processors or [process.SERVER]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.processes = []
        self.commands = server.configure(setup, self.directory, self.port)

    def __enter__(self):
        try:
            for command in reversed(self.commands):
                self.processes.append(self.start(command))
            self.leader = self.processes[-1]
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, command):
        with open(self.directory / "output", "ab") as output:
            return subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.server.environment},
                # The processes of a server are a group, which ends as a whole.
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, self.processors),
            )

    def __exit__(self, *_):
        for started in self.processes:
            started.terminate()
        for started in self.processes:
            try:
                started.wait(HANG)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(started.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            started.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tree(self):
        return process.tree(*(started.pid for started in self.processes))

    def ask(self, path, host="localhost"):
        """An answer's status and content; none before the server listens."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        try:
            client.request("GET", path, headers={"Host": host})
            answer = client.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            client.close()

    def await_answer(self, path, content=None, host="localhost"):
        """Waits until that is the answer, and returns the seconds that it took."""
        begun = time.monotonic()
        while True:
            answer = self.ask(path, host)
            if answer and answer[0] == 200 and content in (None, answer[1]):
                return time.monotonic() - begun
            ended = [started.args[0] for started in self.processes if started.poll() is not None]
            if ended or time.monotonic() - begun > HANG:
                raise SystemExit(
                    f"benches/run: {self.server.name} does not answer {path} as it should: "
                    f"status {answer and answer[0]}; ended: {ended}; it said:\n{self.said()}"
                )
            time.sleep(AGAIN)

    def said(self):
        """The last lines of its output and of its log of errors."""
        files = [self.directory / "output", self.directory / "errors"]
        return "\n".join(
            line
            for file in files
            if file.exists()
            for line in file.read_text(errors="replace").splitlines()[-LINES:]
        )


def all_servers(pywebd, floor):
    """Each server that is known here."""
    return [
        Pywebd(pywebd),
        Pywebd(pywebd, "journal"),
        Nginx(),
        Nginx(cached=True),
        Lighttpd(),
        Apache(),
        H2o(),
        Caddy(),
        Floor(floor),
    ]
