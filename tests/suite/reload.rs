//! Another configuration while the server runs: what is noticed, what holds, and what nobody loses.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{HANG, Server, Site};

/// A site whose listing of `/a/` tells which configuration is in force.
const SITE: &str = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nlisting = LISTING\n";

fn text(site: &Site, listing: bool) -> String {
    let root = site.root();
    let text = SITE.replace("ROOT", root.to_str().unwrap());
    text.replace("LISTING", &listing.to_string())
}

fn main_file(site: &Site, rest: &str) -> String {
    format!(
        "version = 1\nserver.listen = [\"127.0.0.1:0\"]\n{}{rest}",
        text(site, false)
    )
}

fn started(site: Site, config: &Path) -> Server {
    Server::start(&["serve", "--config", config.to_str().unwrap()]).keep(site)
}

fn site() -> Site {
    Site::new().file("a/x", "x")
}

/// Waits until the answer to a GET has this status.
fn until(server: &Server, target: &str, status: u16) {
    let start = Instant::now();
    while server.get(target).status() != status {
        let log = server.log();
        assert!(start.elapsed() < HANG, "{target} is never {status}: {log}");
        thread::yield_now();
    }
}

#[test]
fn a_change_of_one_site_among_many_is_noticed_and_told_alone() {
    let site = site();
    let config = site.directory().join("pywebd.toml");
    let sites = site.directory().join("sites.d");
    fs::create_dir(&sites).unwrap();
    let include = "include = [\"sites.d/*\"]\n";
    fs::write(&config, include.to_owned() + &main_file(&site, "")).unwrap();
    let text = |n: usize, to: &str| {
        let root = site.root();
        let root = root.display();
        format!(
            "[site.s{n}]\nhosts = [\"s{n}\"]\nroot = \"{root}\"\nredirect.\"/old\" = \"{to}\"\n"
        )
    };
    for n in 0..300 {
        fs::write(sites.join(format!("{n}.toml")), text(n, "/new")).unwrap();
    }
    let (changed, once_more) = (text(123, "/newer"), text(124, "/newer"));
    let server = started(site, &config);
    // By another file in its place, and then another one in place.
    fs::write(sites.join(".new"), changed).unwrap();
    fs::rename(sites.join(".new"), sites.join("123.toml")).unwrap();
    server.logged(&["site.s123: path.\"/old\".redirect", "-> { to = \"/newer\""]);
    fs::write(sites.join("124.toml"), once_more).unwrap();
    server.logged(&["site.s124: path.\"/old\".redirect", "-> { to = \"/newer\""]);
    assert_eq!(server.count_logged("site.s"), 2);
}

#[test]
fn a_file_is_noticed_however_an_editor_writes_it() {
    let site = site();
    let config = site.directory().join("pywebd.toml");
    fs::write(&config, main_file(&site, "")).unwrap();
    let [off, on] = [false, true]
        .map(|on| main_file(&site, "").replace("listing = false", &format!("listing = {on}")));
    let other = site.directory().join("other");
    let server = started(site, &config);
    until(&server, "/a/", 403);
    // In place, by a new file in its place, by a backup, and removed first.
    fs::write(&config, &on).unwrap();
    until(&server, "/a/", 200);
    fs::write(&other, &off).unwrap();
    fs::rename(&other, &config).unwrap();
    until(&server, "/a/", 403);
    fs::rename(&config, &other).unwrap();
    fs::write(&config, &on).unwrap();
    until(&server, "/a/", 200);
    fs::remove_file(&config).unwrap();
    server.logged(&["not reloaded", "cannot read"]);
    assert_eq!(server.get("/a/").status(), 200);
    fs::write(&config, &off).unwrap();
    until(&server, "/a/", 403);
    // By another name of the same file.
    fs::hard_link(&config, server.site().directory().join("name")).unwrap();
    fs::write(server.site().directory().join("name"), &on).unwrap();
    until(&server, "/a/", 200);
}

#[test]
fn files_that_are_included_come_and_go() {
    let site = site();
    let at = |name: &str| site.directory().join(name);
    let main = "version = 1\nserver.listen = [\"127.0.0.1:0\"]\ninclude = [\"sites.d/*.toml\"]\n";
    fs::write(at("pywebd.toml"), main.to_owned() + &text(&site, false)).unwrap();
    let (config, included) = (at("pywebd.toml"), at("sites.d"));
    let more = text(&site, true)
        .replace("site.a", "site.b")
        .replace('*', "b.example");
    let server = started(site, &config);
    let status = || server.request("GET", "/a/", "", "").status();
    let get = |expected: u16| {
        let start = Instant::now();
        loop {
            let mut connection = server.connect();
            connection.send("GET /a/ HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n");
            if connection.response().status() == expected {
                return;
            }
            assert!(start.elapsed() < HANG, "never {expected}: {}", server.log());
            thread::yield_now();
        }
    };
    get(403);
    // The directory does not exist yet.
    fs::create_dir(&included).unwrap();
    fs::write(included.join("b.toml"), &more).unwrap();
    get(200);
    fs::rename(included.join("b.toml"), included.join("b.off")).unwrap();
    get(403);
    fs::rename(included.join("b.off"), included.join("b.toml")).unwrap();
    get(200);
    fs::remove_dir_all(&included).unwrap();
    get(403);
    // And back again.
    fs::create_dir(&included).unwrap();
    fs::write(included.join("b.toml"), &more).unwrap();
    get(200);
    assert_eq!(status(), 403);
}

#[test]
fn links_that_are_swapped_are_noticed_at_every_place_of_the_path() {
    // As Kubernetes does: pywebd.toml -> ..data/pywebd.toml, ..data -> ..version-1
    let site = site();
    let at = |name: &str| site.directory().join(name);
    for (name, listing) in [("one", false), ("two", true)] {
        let directory = at("etc").join(format!("..{name}"));
        fs::create_dir_all(&directory).unwrap();
        let text = main_file(&site, "").replace("listing = false", &format!("listing = {listing}"));
        fs::write(directory.join("pywebd.toml"), text).unwrap();
    }
    let etc = at("etc");
    symlink("..one", etc.join("..data")).unwrap();
    symlink("..data/pywebd.toml", etc.join("pywebd.toml")).unwrap();
    symlink("etc", at("link")).unwrap();
    let (config, other) = (at("link/pywebd.toml"), at("etc2"));
    let server = started(site, &config);
    let swap = |target: &str, link: PathBuf| {
        let new = link.with_file_name("new");
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    };
    until(&server, "/a/", 403);
    swap("..two", etc.join("..data"));
    until(&server, "/a/", 200);
    swap("..one/pywebd.toml", etc.join("pywebd.toml"));
    until(&server, "/a/", 403);
    // The directory above is a link, too.
    fs::create_dir(&other).unwrap();
    fs::copy(etc.join("..two/pywebd.toml"), other.join("pywebd.toml")).unwrap();
    swap("etc2", server.site().directory().join("link"));
    until(&server, "/a/", 200);
    // What is no longer on the way does not matter, and what is does.
    let text = fs::read_to_string(other.join("pywebd.toml")).unwrap();
    fs::write(other.join("pywebd.toml"), text.replace("= true", "= false")).unwrap();
    until(&server, "/a/", 403);
}

#[test]
fn a_directory_that_is_gone_and_comes_back_is_noticed() {
    let site = site();
    let at = |name: &str| site.directory().join(name);
    fs::create_dir_all(at("up/etc")).unwrap();
    let off = main_file(&site, "");
    let on = off.replace("listing = false", "listing = true");
    let (up, etc, away, config) = (at("up"), at("up/etc"), at("away"), at("up/etc/pywebd.toml"));
    fs::write(&config, &off).unwrap();
    let server = started(site, &config);
    until(&server, "/a/", 403);
    let (mut state, mut failures) = (false, 0);
    let mut round = |leave: &dyn Fn(), back: &dyn Fn(&str)| {
        leave();
        failures += 1;
        server.logged_times(failures, "not reloaded");
        state = !state;
        back(if state { &on } else { &off });
        until(&server, "/a/", if state { 200 } else { 403 });
    };
    let write = |text: &str| {
        fs::create_dir_all(&etc).unwrap();
        fs::write(&config, text).unwrap();
    };
    round(&|| fs::remove_dir_all(&etc).unwrap(), &write);
    round(&|| fs::remove_dir_all(&up).unwrap(), &write);
    let restore = |text: &str| {
        fs::write(away.join("etc/pywebd.toml"), text).unwrap();
        fs::rename(&away, &up).unwrap();
    };
    round(&|| fs::rename(&up, &away).unwrap(), &restore);
    round(&|| fs::rename(&up, &away).unwrap(), &restore);
}

#[test]
fn a_change_of_several_files_is_one() {
    let site = site();
    let at = |name: &str| site.directory().join(name);
    fs::create_dir(at("sites.d")).unwrap();
    fs::write(
        at("pywebd.toml"),
        main_file(&site, "").replace(
            "version = 1\n",
            "version = 1\ninclude = [\"sites.d/*.toml\"]\n",
        ),
    )
    .unwrap();
    let config = at("pywebd.toml");
    let included = at("sites.d");
    let server = started(site, &config);
    for number in 0..5 {
        let site = format!(
            "[site.s{number}]\nhosts = [\"s{number}.example\"]\nroot = \"{}\"\n",
            server.site().root().display()
        );
        fs::write(included.join(format!("{number}.toml")), site).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    server.logged_times(1, "configuration reloaded");
    // And what is no file of the pattern, such as an editor's own, is none.
    fs::write(included.join(".5.toml.swp"), "").unwrap();
    fs::write(included.join("5.toml~"), "").unwrap();
    fs::write(included.join("0.toml"), "[site.s0]\nnonsense").unwrap();
    server.logged(&["not reloaded", "0.toml:2"]);
    assert_eq!(server.count_logged("configuration reloaded"), 1);
}

#[test]
fn changes_without_end_are_read_now_and_then() {
    let server = site().configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let config = server.site().directory().join("pywebd.toml");
    let text = fs::read_to_string(&config).unwrap();
    let start = Instant::now();
    let mut writes = 0;
    while server.count_logged("configuration reloaded") < 2 {
        writes += 1;
        let new = config.with_extension("new");
        fs::write(&new, format!("{text}# {writes}\n")).unwrap();
        fs::rename(new, &config).unwrap();
        assert!(start.elapsed() < HANG, "{}", server.log());
        thread::sleep(Duration::from_micros(500));
    }
    // Each time it has settled, or was waited for in vain; a machine that is busy may pause.
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert!(writes > 20, "{writes}");
    assert_eq!(server.get("/a/x").text(), "x");
}

#[test]
fn a_root_that_is_missing_is_waited_for() {
    let server = site().configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let site = server.site();
    let new = site.directory().join("mnt/www");
    site.config(&format!("[site.a]\nhosts = [\"*\"]\nroot = {new:?}\n"));
    server.logged(&["not reloaded", "mnt/www", "does not exist"]);
    assert_eq!(server.get("/a/x").text(), "x");
    fs::create_dir_all(&new).unwrap();
    server.logged(&["configuration reloaded"]);
    assert_eq!(server.get("/a/x").status(), 404);
}

#[test]
fn a_change_before_the_watch_began_is_not_missed() {
    let site = site();
    let config = site.directory().join("pywebd.toml");
    let off = main_file(&site, "");
    let on = off.replace("listing = false", "listing = true");
    for round in 0..10 {
        fs::write(&config, &off).unwrap();
        let directory = site.directory().to_owned();
        let (config, on) = (config.clone(), on.clone());
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(3 * round));
            let new = directory.join("new");
            fs::write(&new, on).unwrap();
            fs::rename(new, config).unwrap();
        });
        let server = Server::start(&[
            "serve",
            "--config",
            site.directory().join("pywebd.toml").to_str().unwrap(),
        ]);
        writer.join().unwrap();
        until(&server, "/a/", 200);
    }
}

#[test]
fn without_notices_of_the_kernel_changes_are_looked_for() {
    let site = site();
    let config = site.directory().join("pywebd.toml");
    fs::write(&config, main_file(&site, "")).unwrap();
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let Some(server) = Server::start_with_inotify(("instances", 0), &arguments) else {
        return;
    };
    server.logged(&["does not tell of changes", "fs.inotify.max_user_instances"]);
    let on = main_file(&site, "").replace("listing = false", "listing = true");
    fs::write(&config, &on).unwrap();
    until(&server, "/a/", 200);
    fs::write(&config, on.replace("= true", "= false")).unwrap();
    server.signal(Signal::HUP);
    until(&server, "/a/", 403);
    assert_eq!(server.count_logged("does not tell of changes"), 1);
}

#[test]
fn a_change_is_noticed_though_the_notice_of_it_is_lost() {
    let server = site().configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let site = server.site();
    let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    server.signal(Signal::STOP);
    for number in 0..room.trim().parse::<u32>().unwrap() {
        fs::create_dir(site.directory().join(number.to_string())).unwrap();
    }
    site.config("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nlisting = true\n");
    server.signal(Signal::CONT);
    until(&server, "/a/", 200);
}

#[test]
fn nothing_is_read_again_that_has_not_changed() {
    let server = site().configured("[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n");
    let site = server.site();
    fs::read(site.directory().join("pywebd.toml")).unwrap();
    fs::write(site.directory().join("other.toml"), "").unwrap();
    fs::write(site.root().join("y"), "y").unwrap();
    // Longer than it takes to notice a change.
    thread::sleep(Duration::from_millis(600));
    assert_eq!(server.count_logged("reloaded"), 0, "{}", server.log());
}

#[test]
fn limits_of_time_hold_from_the_next_request_on_for_open_connections_too() {
    let server = site().configured(&with_limits("idle-timeout = \"1h\""));
    let ask = "GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut asked, mut silent) = (server.connect(), server.connect());
    for connection in [&mut asked, &mut silent] {
        assert_eq!(connection.send(ask).response().text(), "x");
    }
    server
        .site()
        .config(&with_limits("idle-timeout = \"100ms\""));
    server.signal(Signal::HUP);
    server.logged(&["configuration reloaded"]);
    assert_eq!(asked.send(ask).response().text(), "x");
    assert!(asked.read_to_end().is_empty());
    // The other one has not been told yet.
    assert_eq!(silent.send(ask).response().text(), "x");
}

#[test]
fn workers_come_and_go_and_open_connections_live_on() {
    let with_workers = |count: usize| {
        format!("server.workers = {count}\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n")
    };
    let server = site().configured(&with_workers(1));
    let threads = |server: &Server| {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("worker-")).count()
    };
    let ask = "GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut connections = Vec::new();
    for (round, count) in [3, 1, 2].into_iter().enumerate() {
        server.site().config(&with_workers(count));
        server.signal(Signal::HUP);
        server.logged_times(round + 1, "configuration reloaded: 1 change");
        connections.extend([(); 8].map(|()| server.connect()));
        for connection in &mut connections {
            assert_eq!(connection.send(ask).response().text(), "x");
        }
    }
    drop(connections);
    let begun = std::time::Instant::now();
    while threads(&server) != 2 {
        assert!(
            begun.elapsed().as_secs() < 20,
            "{} workers",
            threads(&server)
        );
        std::thread::yield_now();
    }
}

fn with_limits(limits: &str) -> String {
    format!("[limits]\n{limits}\n[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n")
}
